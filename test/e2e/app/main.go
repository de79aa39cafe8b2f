// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command app is the app of the end-to-end tests: what a user of the product would run in a pod, with a key in its
// environment.
//
//	app call [-calls N] [-interval D] [-workers N] [-fresh] [-want STATUS] [-url URL]
//	app serve
//	app write FILE
//
// call asks $LMP_BASE_URL/v1/whoami with the key $LMP_API_KEY, N times or (0) until SIGTERM, and prints JSON lines:
//
//	{"status":503,"after":"1.02s"}                             each answer other than the wanted, as it comes
//	{"error":"dial tcp: connection refused","after":"1.2s"}    each call without an answer
//	{"counts":{"200":812},"unwanted":0,"after":"5s"}           every second
//	{"counts":{"200":900,"503":1,"error":1},"unwanted":2,"after":"5.6s","done":true}
//
// and exits with 0 when every answer was the wanted one. serve answers the same question on :8080, knowing one key: its
// own $LMP_API_KEY. write writes a file and reports who did. No output has a key in it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	command := "serve"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	var err error
	switch command {
	case "call":
		err = call(os.Args[2:])
	case "serve":
		err = serve()
	case "write":
		err = write(os.Args[2:])
	default:
		err = fmt.Errorf("there is no %q: call, serve or write", command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

// write writes a file, which is how a test knows that it may, and prints {"uid":1,"gid":1,"groups":[2]}.
func write(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("write takes one file, not %d", len(args))
	}
	if err := os.WriteFile(args[0], []byte("written\n"), 0o644); err != nil {
		return err
	}
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"uid": os.Getuid(), "gid": os.Getgid(), "groups": groups})
}
