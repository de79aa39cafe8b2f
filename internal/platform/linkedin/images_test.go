// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"context"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// opened counts those of a medium that were opened and not closed.
type opened struct {
	io.Reader
	left *int
}

func (o opened) Close() error { *o.left--; return nil }

// TestMediaOfRequestsThatAreNotMade: a request that can't be made leaves no medium open.
func TestMediaOfRequestsThatAreNotMade(t *testing.T) {
	left := 0
	m := platform.Media{SizeBytes: 1, Open: func(context.Context) (io.ReadCloser, error) {
		left++
		return opened{strings.NewReader("a"), &left}, nil
	}}
	if _, err := putOf(t.Context(), m, &url.URL{Scheme: "http", Host: "a host"}, "token"); err == nil || left != 0 {
		t.Errorf("%d are open, error %v", left, err)
	}
}
