// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Files at the root of a module that say what one may do with it, and what one has to pass on with a binary of it.
var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([-_.].*)?$`)
	noticeFile  = regexp.MustCompile(`(?i)^notice([-_.].*)?$`)
)

// licence is what was found in a module's folder.
type licence struct {
	ids   []string // SPDX identifiers, sorted; those of several files or parts of one hold together
	texts [][]byte // of all those files
}

// licenceIn reads the licence of the module in dir. One without a licence is an error: nobody may pass it on.
func licenceIn(dir string) (licence, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return licence{}, err
	}
	var l licence
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) && !noticeFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return licence{}, err
		}
		l.texts = append(l.texts, text)
		if licenceFile.MatchString(e.Name()) {
			l.ids = append(l.ids, licenceIDs(text)...)
		}
	}
	if len(l.ids) == 0 {
		return licence{}, fmt.Errorf("no licence is known by its text in %s", dir)
	}
	slices.Sort(l.ids)
	l.ids = slices.Compact(l.ids)
	return l, nil
}

// phrases that a licence has and no other one of these, in small letters and on one line. Names of licences do not do:
// files that mention several of them are common.
var phrases = []struct{ id, phrase string }{
	{"Apache-2.0", "apache license version 2.0, january 2004"},
	{"Apache-2.0", `licensed under the apache license, version 2.0`},
	{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy of this software " +
		"and associated documentation files"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"},
	{"ISC", "permission to use, copy, modify, and distribute this software for any purpose with or without fee"},
	{"MPL-2.0", "mozilla public license, version 2.0"},
	{"MPL-2.0", "mozilla public license version 2.0"},
	{"Unlicense", "this is free and unencumbered software released into the public domain"},
	{"blessing", "may you do good and not evil"}, // SQLite's
}

// licenceIDs are the SPDX identifiers of the licences that a text holds, more than one if several follow each other.
// The two BSD licences have no phrase of their own: the third clause is what tells them apart.
func licenceIDs(text []byte) (ids []string) {
	plain := strings.ToLower(strings.Join(strings.Fields(string(text)), " "))
	for _, p := range phrases {
		if strings.Contains(plain, p.phrase) {
			ids = append(ids, p.id)
		}
	}
	if strings.Contains(plain, "redistribution and use in source and binary forms") {
		if strings.Contains(plain, "to endorse or promote products") {
			ids = append(ids, "BSD-3-Clause")
		} else {
			ids = append(ids, "BSD-2-Clause")
		}
	}
	return ids
}

// notices is the text that has to come with the binary: the licences of all that is linked into it, each text once.
func (b binary) notices() ([]byte, error) {
	type entry struct {
		modules []string
		text    []byte
	}
	var entries []*entry
	for _, m := range b.linked() {
		l, err := licenceIn(m.dir)
		if err != nil {
			return nil, fmt.Errorf("licence of %s: %w", m.path, err)
		}
		for _, text := range l.texts {
			i := slices.IndexFunc(entries, func(e *entry) bool { return bytes.Equal(e.text, text) })
			if i < 0 {
				i, entries = len(entries), append(entries, &entry{text: text})
			}
			entries[i].modules = append(entries[i].modules, m.path+" "+m.version)
		}
	}
	var out bytes.Buffer
	for _, e := range entries {
		line := strings.Repeat("=", 80)
		fmt.Fprintf(&out, "%s\n%s\n%s\n\n%s\n\n", line, strings.Join(e.modules, "\n"), line, bytes.TrimSpace(e.text))
	}
	return out.Bytes(), nil
}
