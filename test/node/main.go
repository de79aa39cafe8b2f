// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// settingsEnv hands the settings on to the processes inside, as JSON. It is not for people.
const settingsEnv = "LMP_NODE_SETTINGS"

// settings is what all three processes know.
type settings struct {
	Command  []string
	Images   []string  // FILE.tar, or NAME=BINARY
	Bin      string    // folder with the programs of the node
	Tools    string    // folder with programs for the command
	Logs     string    // folder for logs
	State    string    // folder for all else, removed at the end
	Groups   cgroups   // that the node lives in
	Launched time.Time // for the times in messages
}

// say tells a person what happens, and how long it took to get there.
func (s settings) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "node: "+format+" (%.1f s)\n", append(args, time.Since(s.Launched).Seconds())...)
}

func main() {
	code, err := stage()
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// stage does this process's part, and returns the exit code of the command.
func stage() (int, error) {
	handed, inside := os.LookupEnv(settingsEnv)
	if !inside {
		s, err := parse(os.Args[1:])
		if errors.Is(err, flag.ErrHelp) {
			return 2, nil
		} else if err != nil {
			return 2, err
		}
		return launch(s)
	}
	var s settings
	if err := json.Unmarshal([]byte(handed), &s); err != nil {
		return 1, fmt.Errorf("read %s: %w", settingsEnv, err)
	}
	if os.Getpid() == 1 {
		return enter(s)
	}
	return run(s)
}

// parse reads the command line. Paths in it are relative to the working directory.
func parse(args []string) (settings, error) {
	s := settings{Launched: time.Now()}
	flags := flag.NewFlagSet("node", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned, and said once
	flags.Func(
		"image",
		"an OCI archive, NAME=FILE.tar for one by another name, or NAME=BINARY for an image of one static program; "+
			"may be repeated",
		func(image string) error {
			name, path, named := strings.Cut(image, "=")
			if !named {
				name, path = "", image
			}
			path, err := filepath.Abs(path)
			if err != nil {
				return err
			}
			if _, err := os.Stat(path); err != nil {
				return err
			}
			if named {
				path = name + "=" + path
			}
			s.Images = append(s.Images, path)
			return nil
		},
	)
	flags.StringVar(&s.Bin, "bin", kube.Path("bin/k8s"), "folder with the programs of the node")
	flags.StringVar(
		&s.Tools,
		"tools",
		kube.Path("bin/tools"),
		"folder with further programs for the command, such as helm",
	)
	flags.StringVar(&s.Logs, "logs", "", "folder for logs, emptied first (default: a temporary one that goes away)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(os.Stderr)
			flags.PrintDefaults()
		}
		return s, err
	}
	s.Command = flags.Args()
	if len(s.Command) == 0 {
		return s, errors.New("no command to run: node [flags] -- COMMAND ARG..., such as `node -- bash`")
	}
	for _, path := range []*string{&s.Bin, &s.Tools, &s.Logs} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return s, err
		}
	}
	return s, nil
}

// next is the command that starts the next of the three processes, with this process's standard streams.
func (s settings) next() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	handed, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self) //nolint:noctx // it ends with its namespace
	cmd.Env = append(os.Environ(), settingsEnv+"="+string(handed))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd, nil
}
