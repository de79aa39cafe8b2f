// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

const marker = "test/.database"

// sweeper is a process that takes every file for old, at a library that may be another one's too.
func sweeper(t *testing.T, databaseURL string, library *media.Library) *process {
	t.Helper()
	p := start(t, databaseURL, newSandbox(), func(o *publish.Options) {
		if library != nil {
			o.Media = library
		}
	})
	p.Hurry(0, -time.Hour, time.Second)
	return p
}

// upload puts a file into the library, as a crash leaves it; with a row, as an upload does.
func (p *process) upload(t *testing.T, id *caller.Caller, letter string, row bool) (blobKey string) {
	t.Helper()
	view, mediaID := p.db.View(id), "med_"+strings.Repeat(letter, 22)
	if _, err := p.library.Put(t.Context(), view.BlobKey(mediaID), strings.NewReader(pixel)); err != nil {
		t.Fatal(err)
	}
	if !row {
		return view.BlobKey(mediaID)
	}
	err := view.Write(t.Context(), func(tx *store.Tx) error {
		return tx.AddMedia(store.Media{ID: mediaID, ContentType: "image/gif", SizeBytes: 1, CreatedAt: time.Now()})
	})
	if err != nil {
		t.Fatal(err)
	}
	return view.BlobKey(mediaID)
}

// has tells whether a file is in the library.
func (p *process) has(t *testing.T, blobKey string) bool {
	t.Helper()
	r, err := p.library.Get(t.Context(), blobKey)
	switch {
	case errors.Is(err, media.ErrNotFound):
		return false
	case err != nil:
		t.Fatal(err)
	}
	return r.Close() == nil
}

// TestSweepLeavesForeignLibrariesAlone: a database that does not know all files must not have any deleted.
func TestSweepLeavesForeignLibrariesAlone(t *testing.T) {
	for _, tc := range []struct {
		reason string
		// do makes a process that is not to sweep the library of a, in which there is a file that a knows.
		do   func(t *testing.T, a *process, url string) *process
		want string // part of what it says
	}{
		{"another database", func(t *testing.T, a *process, _ string) *process {
			sweep(t, a)
			return sweeper(t, sqlite(t), a.library)
		}, "the media are of the database"},
		{"an empty database, at a library that was never swept by one with a stamp", func(t *testing.T, a *process, _ string) *process {
			return sweeper(t, sqlite(t), a.library)
		}, "knows none of the 2 media files"},
		{"a database from a backup", func(t *testing.T, a *process, _ string) *process {
			sweep(t, a)
			a.exec(t, "CREATE TABLE backup AS SELECT * FROM stamp")
			sweep(t, a)
			a.exec(t, "DELETE FROM stamp")
			a.exec(t, "INSERT INTO stamp SELECT * FROM backup")
			a.exec(t, "DELETE FROM media")
			return a
		}, "It was restored"},
		{"a marker that says nothing", func(t *testing.T, a *process, _ string) *process {
			if err := a.library.Note(t.Context(), marker, nil); err != nil {
				t.Fatal(err)
			}
			return a
		}, "no stamp"},
		{"a marker that can't be written", func(t *testing.T, a *process, _ string) *process {
			if _, err := a.library.Put(t.Context(), marker+"/x", strings.NewReader(pixel)); err != nil {
				t.Fatal(err)
			}
			return a
		}, "mark the media as this database's"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			url := sqlite(t)
			a, id := sweeper(t, url, nil), admitted(t)
			file := a.upload(t, id, "a", true)
			p := tc.do(t, a, url)
			orphan := a.upload(t, id, "b", false)
			for range 3 { // by itself it does not come to think otherwise
				if err := p.DeleteOrphans(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v, want %q in it", err, tc.want)
				}
			}
			if !a.has(t, file) || !a.has(t, orphan) {
				t.Error("it has deleted files")
			}
		})
	}
}

// TestSweepGoesOnWhenToldSo: whoever knows better than the marker deletes it.
func TestSweepGoesOnWhenToldSo(t *testing.T) {
	a, id := sweeper(t, sqlite(t), nil), admitted(t)
	kept := a.upload(t, id, "a", true)
	for range 2 {
		sweep(t, a)
	}
	a.exec(t, "UPDATE stamp SET sweep = 0")
	orphan := a.upload(t, id, "b", false)
	if err := a.DeleteOrphans(t.Context()); err == nil || !a.has(t, orphan) {
		t.Fatalf("swept with a database that was restored: %v", err)
	}
	if err := a.library.Delete(t.Context(), marker); err != nil {
		t.Fatal(err)
	}
	sweep(t, a)
	if !a.has(t, kept) || a.has(t, orphan) || !a.has(t, marker) {
		t.Error("it was not swept, or not marked again")
	}
}

// TestSweepMarksANewLibrary: from the first moment on, before there is anything to be lost.
func TestSweepMarksANewLibrary(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		a := sweeper(t, databaseURL, nil)
		sweep(t, a)
		if !a.has(t, marker) {
			t.Fatal("it has no marker")
		}
		orphan := a.upload(t, admitted(t), "a", false)
		sweep(t, a)
		if a.has(t, orphan) || !a.has(t, marker) {
			t.Error("the file is still there, or the marker isn't")
		}
	})
}

// TestSeveralSweep: the processes of one database are not in each other's way, whatever the order of their reads and
// writes.
func TestSeveralSweep(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		a := sweeper(t, databaseURL, nil)
		b := sweeper(t, databaseURL, a.library)
		for _, p := range []*process{a, b} {
			p.Hurry(0, time.Hour, time.Second) // what one is about to write is not old
		}
		var all sync.WaitGroup
		for _, p := range []*process{a, b, a, b} {
			all.Go(func() {
				for range 10 {
					if err := p.DeleteOrphans(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	})
}

// sweep deletes orphans, which must be allowed.
func sweep(t *testing.T, p *process) {
	t.Helper()
	if err := p.DeleteOrphans(t.Context()); err != nil {
		t.Fatal(err)
	}
}
