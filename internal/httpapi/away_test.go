// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// While the database is away, whatever needs it is 503 with a Retry-After, and what does not goes on.
func TestDatabaseAway(t *testing.T) {
	dir := t.TempDir()
	for reason, away := range map[string]func(c *parts){
		"not migrated yet": func(c *parts) {
			db, err := store.Open(store.Options{
				URL: "sqlite:" + filepath.Join(dir, "new.db"), Clock: c.Clock, NewID: newID, Logger: slog.New(slog.DiscardHandler),
			})
			check(t, err)
			t.Cleanup(func() { check(t, db.Close()) })
			c.Store = db
		},
		"closed": func(c *parts) { check(t, c.Store.Close()) },
	} {
		f := newFixture(t, nil, away)
		key := f.newKey(t)
		for i := range routes {
			r := &routes[i]
			s := sent{method: r.Method, target: pathOf(r, "01939b1e-0000-7000-8000-000000000000"), key: key}
			switch r.ID {
			case "createPosts":
				s = publication(key, targetOf("01939b1e-0000-7000-8000-000000000001", ""), `,"text":"x"`)
			case "uploadMedia":
				s = uploadOf(key, picture(t, 3))
			case "editPost":
				s.body = `{"text":"x"}`
			case "completeConnection":
				s.body = `{"identifier":"a.test","appPassword":"x"}`
			case "reportLeakedKey":
				s.body = `{"key":"x"}`
			}
			want := http.StatusServiceUnavailable
			switch {
			case r.Shown():
				want = http.StatusForbidden // nothing is kept here that a browser could come back to
			case r.Scope == "" && r.Succeeds(), r.ID == "connectAccount":
				want = http.StatusOK // they are about what is in memory
				// Platforms that are played fetch no metadata.
				if r.ID == "getProfile" || r.ID == "clientMetadata" {
					want = http.StatusNotFound
				}
			case r.Scope == "":
				want = http.StatusForbidden
			}
			f.sendAway(t, reason+": "+r.Method+" "+r.Path, s, want)
			if r.Changes() {
				f.sendAway(t, reason+": "+r.Method+" "+r.Path+" with an Idempotency-Key", s.with("Idempotency-Key", "k"), http.StatusServiceUnavailable)
			}
		}
		if files := f.files(t); len(files) != 0 {
			t.Errorf("%s: files without rows: %v", reason, files)
		}
	}
}

func (f *fixture) sendAway(t *testing.T, what string, s sent, want int) {
	t.Helper()
	w := f.send(s)
	checkStatus(t, what, w, want)
	if w.Code == http.StatusServiceUnavailable {
		if e := errorOf(t, w); e.Code != "unavailable" || w.Header().Get("Retry-After") != "5" {
			t.Errorf("%s: %+v, Retry-After %q", what, e, w.Header().Get("Retry-After"))
		}
	}
}

// A media folder that is gone, such as a volume that is not mounted, is 503; and nothing is put where it should be, or
// lost.
func TestMediaFolderAway(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "media")
	f := newFixture(t, nil, func(c *parts) {
		library, err := media.Open(t.Context(), (&url.URL{Scheme: "file", Path: folder}).String(), 1000)
		check(t, err)
		t.Cleanup(func() { check(t, library.Close()) })
		c.Library = library
	})
	key := f.newKey(t)
	id := f.upload(t, key)
	check(t, os.Rename(folder, folder+".away"))
	upload := uploadOf(key, picture(t, 4)).with("Idempotency-Key", "again")
	f.sendAway(t, "an upload", upload, http.StatusServiceUnavailable)
	f.sendAway(t, "a download", sent{method: http.MethodGet, target: "/v1/media/" + id + "/content", key: key}, http.StatusServiceUnavailable)
	checkStatus(t, "what is known of it", f.do(http.MethodGet, "/v1/media/"+id, key), http.StatusOK)
	if n := f.rows(t, "media", "claims"); n != 1 {
		t.Errorf("%d rows, want the first upload's alone", n)
	}
	check(t, os.Rename(folder+".away", folder))
	checkStatus(t, "back again", f.do(http.MethodGet, "/v1/media/"+id+"/content", key), http.StatusOK)
	ok[medium](t, f, upload)
}

// envFull makes the test binary the process whose folder for media is on a small disk: "disk", or "limit".
const envFull = "LMP_TEST_FULL"

// A disk that takes no more: a file system in memory, in namespaces of a process' own. Where those may not be made, or
// nothing be mounted in them, it is the kernel's limit on the size of files, which is for all of a process as well, and
// fails in the same place: in the middle of a write.
func TestMediaFolderFull(t *testing.T) {
	if os.Getenv(envFull) != "" {
		testMediaFolderFull(t)
		return
	}
	again := func(kind string, attributes *syscall.SysProcAttr) ([]byte, error) {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMediaFolderFull$", "-test.v")
		child.Env, child.SysProcAttr = append(os.Environ(), envFull+"="+kind), attributes
		return child.CombinedOutput()
	}
	root := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	group := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	out, err := again("disk", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: root, GidMappings: group})
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Logf("no namespaces here: %v", err)
		out, err = again("limit", nil)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestMediaFolderFull")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// fill makes a folder one that takes no more than room, until grow is called.
func fill(t *testing.T, folder string, room int) (grow func()) {
	t.Helper()
	if os.Getenv(envFull) == "disk" {
		mount := func(flags uintptr, size int) error {
			return syscall.Mount("tmpfs", folder, "tmpfs", flags, fmt.Sprintf("size=%d", size))
		}
		check(t, os.MkdirAll(folder, 0o700))
		err := mount(0, room)
		if err == nil {
			t.Cleanup(func() { check(t, syscall.Unmount(folder, syscall.MNT_DETACH)) })
			return func() { check(t, mount(syscall.MS_REMOUNT, 4*room)) }
		}
		if !errors.Is(err, fs.ErrPermission) {
			t.Fatal(err)
		}
	}
	t.Log("with a limit on the size of files, and no disk that is full")
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	check(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	check(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(room), Max: before.Max}))
	grow = func() { check(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)) }
	t.Cleanup(grow)
	return grow
}

func testMediaFolderFull(t *testing.T) {
	const room = 16 << 20 // more than the database needs
	folder := filepath.Join(t.TempDir(), "media")
	grow := fill(t, folder, room)
	f := newFixture(t, nil, func(c *parts) {
		library, err := media.Open(t.Context(), (&url.URL{Scheme: "file", Path: folder}).String(), media.DefaultMaxSize)
		check(t, err)
		t.Cleanup(func() { check(t, library.Close()) })
		c.Library = library
	})
	upload := uploadOf(f.newKey(t), "GIF89a\x01\x00\x01\x00\x00\x00\x00"+strings.Repeat("x", room)).with("Idempotency-Key", "again")
	for range 2 {
		w := f.send(upload)
		checkStatus(t, "no room", w, http.StatusServiceUnavailable)
		if e := errorOf(t, w); e.Code != "unavailable" || e.Rule != "media.storage_full" || w.Header().Get("Retry-After") == "" {
			t.Errorf("%+v, Retry-After %q", e, w.Header().Get("Retry-After"))
		}
		if n := f.rows(t, "media", "claims"); n != 0 {
			t.Errorf("%d rows are left", n)
		}
		check(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				t.Errorf("%s is left", path)
			}
			return err
		}))
	}
	grow()
	if m := ok[medium](t, f, upload); m.SizeBytes <= room {
		t.Errorf("%+v", m)
	}
}
