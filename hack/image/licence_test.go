// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLicenceIDs(t *testing.T) {
	const (
		mit  = "Permission is hereby granted, free of charge, to any person obtaining a copy\nof this software and associated documentation files (the \"Software\")"
		bsd2 = "Redistribution and use in source and binary forms, with or without\nmodification, are permitted"
		bsd3 = bsd2 + "\n * Neither the name of nor the names of its\ncontributors may be used to endorse or promote products derived from"
	)
	for _, tc := range []struct {
		reason, text string
		want         []string
	}{
		{"the whole text", "    Apache License\n   Version 2.0, January 2004\n", []string{"Apache-2.0"}},
		{"a header instead of the text", "Licensed under the Apache License, Version 2.0 (the \"License\");", []string{"Apache-2.0"}},
		{"lines broken anywhere", mit, []string{"MIT"}},
		{"two clauses", bsd2, []string{"BSD-2-Clause"}},
		{"the third clause", bsd3, []string{"BSD-3-Clause"}},
		{"parts under different licences", mit + "\n\n" + bsd3, []string{"MIT", "BSD-3-Clause"}},
		{"a text that is no licence", "All rights reserved.", nil},
	} {
		if diff := cmp.Diff(tc.want, licenceIDs([]byte(tc.text))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

// A module that nobody may pass on must not get into an image unnoticed.
func TestNoLicence(t *testing.T) {
	dir := t.TempDir()
	if l, err := licenceIn(dir); err == nil {
		t.Errorf("a folder without a licence has %v", l.ids)
	}
	if err := os.WriteFile(filepath.Join(dir, "LICENSE.txt"), []byte("All rights reserved."), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := licenceIn(dir); err == nil {
		t.Errorf("a text that is no licence is taken for %v", l.ids)
	}
}
