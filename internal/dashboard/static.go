// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
)

// contentTypes of what is served as it stands. It is no table of the system's: that may have other ideas. A file of
// another kind needs a line here.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// serveStatic serves the files that every page needs. They are nobody's data: browsers keep them and ask whether they
// have changed.
func (d *Dashboard) serveStatic() error {
	entries, err := fs.ReadDir(files, "static")
	if err != nil {
		return err
	}
	for _, e := range entries {
		content, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			return err
		}
		// The tag is of the content, so that all replicas of a release agree on it, whenever they were started.
		sum := sha256.Sum256(content)
		tag, kind := `"`+hex.EncodeToString(sum[:8])+`"`, contentTypes[path.Ext(e.Name())]
		if kind == "" {
			// Found when the process starts: with nosniff, browsers would not use a style or a script of no type.
			return fmt.Errorf("static/%s: what type is it?", e.Name())
		}
		d.handle("GET "+Base+"/static/"+e.Name(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Cache-Control", "no-cache") // asked for again each time, and not sent again
			h.Set("ETag", tag)
			if r.Header.Get("If-None-Match") == tag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			h.Set("Content-Type", kind)
			_, _ = w.Write(content)
		}))
	}
	return nil
}
