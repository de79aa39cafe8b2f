// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

func of(environment key.Environment) func(*store.Options) {
	return func(o *store.Options) { o.Environment = environment }
}

// TestOneEnvironment: a database is of the environment that came first, and the other one's processes never get to work
// with it.
func TestOneEnvironment(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		open(t, url, clock.RealClock{}, of(key.Live))
		open(t, url, clock.RealClock{}, of(key.Live)) // as a second replica, and after a restart

		said := make(chan string, 1)
		other, err := store.Open(store.Options{
			URL: url, Environment: key.Test, Clock: clock.RealClock{}, NewID: newID, Logger: slog.New(slog.NewTextHandler(first(said), nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); other.Run(ctx) }()
		t.Cleanup(func() { stop(); <-done; _ = other.Close() })
		select {
		case line := <-said:
			if want := "belongs to the live environment, and this process serves test"; !strings.Contains(line, want) {
				t.Errorf("it says %q, want %q in it", line, want)
			}
		case <-other.Migrated():
			t.Error("the other environment's process works with the database")
		case <-time.After(time.Minute):
			t.Fatal("the other environment's process says nothing")
		}
		if _, _, err := viewOf(t, other).Posts(t.Context(), store.PostFilter{}, store.Page{Limit: 1}); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("its reads: %v, want ErrUnavailable", err)
		}
	})
}

// first passes on the first write.
type first chan<- string

func (f first) Write(line []byte) (int, error) {
	select {
	case f <- string(bytes.Clone(line)):
	default:
	}
	return len(line), nil
}
