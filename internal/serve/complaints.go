// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"context"
	"log/slog"
)

// complaints logs what net/http complains of.
type complaints struct{ logger *slog.Logger }

// Write implements io.Writer, for one complaint. That a TLS handshake has failed is the peer's doing, and whoever looks
// for open ports does it all the time.
func (c complaints) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		level = slog.LevelDebug
	}
	c.logger.Log(context.Background(), level, string(bytes.TrimSpace(line)))
	return len(line), nil
}
