// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

const (
	beginMark = "<!-- begin of what hack/chart writes -->\n"
	endMark   = "<!-- end of what hack/chart writes -->\n"
)

// rewrite replaces what stands between the marks of a page.
func rewrite(page, table string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(text, []byte(beginMark))
	_, after, ends := bytes.Cut(rest, []byte(endMark))
	if !begins || !ends {
		return fmt.Errorf("%s: %w", page, errors.New("the lines between which the values belong are not there"))
	}
	text = fmt.Appendf(nil, "%s%s\n%s\n%s%s", before, beginMark, table, endMark, after)
	return os.WriteFile(page, text, 0o644) //nolint:gosec // G703: as in run
}

const tableHead = "| value | default | |\n| --- | --- | --- |\n"

// tableOf returns the values in Markdown: a table of those that stand alone, then one for each section.
func tableOf(root *value) string {
	var text strings.Builder
	text.WriteString(tableHead)
	for _, v := range root.children {
		if v.children == nil {
			writeRow(&text, v)
		}
	}
	for _, v := range root.children {
		if v.children != nil {
			fmt.Fprintf(&text, "\n### %s\n\n%s\n\n%s", v.name, v.description, tableHead)
			writeRows(&text, v)
		}
	}
	return text.String()
}

// writeRows writes the values of a section. A section within it is a row that only names it: a table can't be nested.
func writeRows(text *strings.Builder, section *value) {
	for _, v := range section.children {
		if v.children == nil {
			writeRow(text, v)
			continue
		}
		fmt.Fprintf(text, "| **%s** | | %s |\n", v.path, cell(v.description))
		writeRows(text, v)
	}
}

func writeRow(text *strings.Builder, v *value) {
	var standard any
	_ = v.standard.Decode(&standard) // the schema was made from it
	shown, _ := json.Marshal(standard)
	fmt.Fprintf(text, "| `%s` | `%s` | %s |\n", v.path, cell(string(shown)), cell(v.description))
}

// cell keeps a text within its cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
