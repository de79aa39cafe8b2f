// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// openBrowser shows an address in the person's browser, by the program that their system has for it. On Windows it is
// not "start", which is a word of the shell there: the shell would take each & of an address for the end of a command.
//
// The program is started and not waited for, since some of them run until the browser is closed, and it is not ended
// with ctx, whose end is that of this run. An error says that none could be started; whether a page has come up is not
// known.
func openBrowser(ctx context.Context, address string) error {
	program, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		program = "open"
	case "windows":
		program, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	default:
		if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
			return errors.New("there is no display here") // xdg-open would start one in the terminal, such as lynx
		}
	}
	//nolint:gosec // G204: the program is one of those above, and the address is this server's, checked before
	if err := exec.CommandContext(context.WithoutCancel(ctx), program, args...).Start(); err != nil {
		return fmt.Errorf("open a browser: %w", err)
	}
	return nil
}
