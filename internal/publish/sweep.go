// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// markerName is the file, among those of an environment, that says whose library it is: the stamp that its database had
// at the last sweep.
const markerName = ".database"

const (
	maxMarker = 1 << 10 // bytes, longer than any marker
	// listTries is how often files are listed, if some come or go meanwhile.
	listTries = 5
)

// folder is where this environment's files are. Those of the other one may be in the same library, and are known to
// another database: nothing here may look at them. It is where store.View.BlobKey begins.
func (p *Publisher) folder() string { return string(p.o.Environment) + "/" }

// marker begins with a dot, which no id does.
func (p *Publisher) marker() string { return p.folder() + markerName }

// deleteOrphans deletes files of uploads whose process died before it could record them, and of media that were
// deleted.
//
// It deletes for good, on the word of the database, so that has to be the library's own, and as far as it ever was:
// with a wrong --database-url, or a database from a backup, every file would seem to belong to nothing.
func (p *Publisher) deleteOrphans(ctx context.Context) error {
	if err := p.checkLibrary(ctx); err != nil {
		return err
	}
	return p.eachFile(ctx, p.o.Clock.Now().Add(-p.pace.orphanAfter), func(keys []string) error {
		orphans, err := p.work.Unreferenced(ctx, keys)
		if err != nil {
			return fmt.Errorf("look files up: %w", err)
		}
		for _, key := range orphans {
			// Another process may have deleted it first: all of them sweep.
			if err := p.o.Media.Delete(ctx, key); err != nil && !errors.Is(err, media.ErrNotFound) {
				return fmt.Errorf("delete the file %s: %w", key, err)
			}
		}
		return nil
	})
}

// checkLibrary makes sure that the database is the library's, and moves the marker on. The error says what an operator
// is to do if it is not.
//
// The marker is read first, and written after the database is: then the database is never behind it, unless it went
// back, also with several processes and whenever one of them dies.
func (p *Publisher) checkLibrary(ctx context.Context) error {
	marker, err := p.readMarker(ctx)
	marked := !errors.Is(err, media.ErrNotFound)
	if marked && err != nil {
		return fmt.Errorf("see whose media these are: %w", err)
	}
	stamp, err := p.work.Stamp(ctx)
	if err != nil {
		return err
	}
	// Each of these may be a mistake of configuration that nobody has noticed yet, so nothing is repaired by itself.
	switch {
	case !marked:
		if err := p.checkUnmarked(ctx); err != nil {
			return err
		}
	case stamp.Database != marker.Database:
		return fmt.Errorf("no file is deleted: by %s, the media are of the database %s, and this one is %s. "+
			"Put --database-url or --media-url right. If this is meant, delete %[1]s",
			p.marker(), marker.Database, stamp.Database)
	case !stamp.Covers(marker):
		return fmt.Errorf("no file is deleted: by %s, the database has come to sweep %d, and it is at %d. "+
			"It was restored, and may not know of files that a later backup of it knows. If there is none, delete %[1]s",
			p.marker(), marker.Sweep, stamp.Sweep)
	}
	// First the database and then the marker: a process that dies between the two leaves the database ahead, which does
	// no harm.
	if stamp, err = p.work.CountSweep(ctx); err != nil {
		return err
	}
	if err := p.o.Media.Note(ctx, p.marker(), []byte(stamp.String()+"\n")); err != nil {
		return fmt.Errorf("mark the media as this database's: %w", err)
	}
	return nil
}

// readMarker returns media.ErrNotFound if there is no marker. One that can't be read is another error: it must not be
// taken for a library that is new, whose files may be adopted.
func (p *Publisher) readMarker(ctx context.Context) (store.Stamp, error) {
	r, err := p.o.Media.Get(ctx, p.marker())
	if err != nil {
		return store.Stamp{}, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxMarker)) // whatever has got the marker's name may be large
	if err != nil {
		return store.Stamp{}, fmt.Errorf("read %s: %w", p.marker(), err)
	}
	stamp, err := store.ParseStamp(string(text))
	if err != nil {
		return store.Stamp{}, fmt.Errorf("read %s: %w", p.marker(), err)
	}
	return stamp, nil
}

var errReferenced = errors.New("a file is referenced")

// checkUnmarked makes sure that a library without a marker is this database's: it has no files, or one that the
// database refers to. One is enough: ids are random, so no other database refers to it.
func (p *Publisher) checkUnmarked(ctx context.Context) error {
	files := 0
	// All files, whatever their clock says: a hundred years on, none is too young.
	err := p.eachFile(ctx, p.o.Clock.Now().AddDate(100, 0, 0), func(keys []string) error {
		files += len(keys)
		unknown, err := p.work.Unreferenced(ctx, keys)
		if err == nil && len(unknown) < len(keys) {
			return errReferenced // that is enough: there is no need to list the rest
		}
		return err
	})
	switch {
	case errors.Is(err, errReferenced):
		return nil
	case err != nil:
		return fmt.Errorf("see whose media these are: %w", err)
	case files > 0:
		return fmt.Errorf("no file is deleted: the database knows none of the %d media files in %s. "+
			"Put --database-url or --media-url right. If this is meant, move the files away", files, p.folder())
	}
	return nil
}

// eachFile is Each for the files of this environment, without the marker and what it is called until it is complete. A
// listing that ends early has not seen them all and is begun anew, so do may get a file more than once.
func (p *Publisher) eachFile(ctx context.Context, before time.Time, do func(keys []string) error) (err error) {
	for range listTries {
		err = p.o.Media.Each(ctx, p.folder(), before, func(keys []string) error {
			keys = slices.DeleteFunc(keys, func(key string) bool { return strings.HasPrefix(key, p.marker()) })
			if len(keys) == 0 {
				return nil
			}
			return do(keys)
		})
		// A file that gets its name, or goes, while its folder is listed ends the listing.
		if !errors.Is(err, media.ErrNotFound) {
			return err
		}
	}
	return err
}
