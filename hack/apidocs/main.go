// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command apidocs writes the reference of the HTTP API into a Markdown page, between the lines
//
//	<!-- begin of what hack/apidocs writes -->
//	<!-- end of what hack/apidocs writes -->
//
// It is made of the OpenAPI document that the API serves, so that the page and the API can't say different things. What
// has to be explained at more length stands above the marks, and is written by people.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/letmepost/letmepost-operator/internal/httpapi"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
)

const (
	beginMark = "<!-- begin of what hack/apidocs writes -->\n"
	endMark   = "<!-- end of what hack/apidocs writes -->\n"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "apidocs:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: apidocs PAGE.md")
	}
	text, err := httpapi.Document()
	if err != nil {
		return err
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("OpenAPI document: %w", err)
	}
	page, err := os.ReadFile(args[0]) //nolint:gosec // G703: whoever runs this names the page
	if err != nil {
		return err
	}
	written, err := insert(page, d.markdown(sandbox.Magic))
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return os.WriteFile(args[0], written, 0o644) //nolint:gosec // G306: a page of documentation
}

// insert replaces what stands between the marks. A page without them is an error: appending would do harm quietly.
func insert(page []byte, reference string) ([]byte, error) {
	before, rest, begins := bytes.Cut(page, []byte(beginMark))
	_, after, ends := bytes.Cut(rest, []byte(endMark))
	if !begins || !ends {
		return nil, fmt.Errorf("no lines %q and %q", beginMark, endMark)
	}
	return fmt.Appendf(nil, "%s%s\n%s\n%s%s", before, beginMark, reference, endMark, after), nil
}
