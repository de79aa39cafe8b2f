// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"context"
	"log/slog"
)

// errorLog takes the lines of http.Server.ErrorLog, which are text, into the log, which is JSON.
type errorLog struct{ logger *slog.Logger }

// Write implements io.Writer, for one line. A TLS handshake that fails is the peer's doing, and whoever scans for open
// ports causes them all the time: at a level that is logged by default they would bury everything else.
func (e errorLog) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		level = slog.LevelDebug
	}
	e.logger.Log(context.Background(), level, string(bytes.TrimSpace(line)))
	return len(line), nil
}
