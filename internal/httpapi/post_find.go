// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// finder looks up what one request names, each thing once: 25 targets may name one file 500 times.
type finder struct {
	view      *store.View
	accounts  map[string]store.Account
	platforms map[platform.Name][]store.Account
	media     map[string]store.Media
}

func newFinder(view *store.View) *finder {
	return &finder{
		view:      view,
		accounts:  map[string]store.Account{},
		platforms: map[platform.Name][]store.Account{},
		media:     map[string]store.Media{},
	}
}

func (f *finder) account(ctx context.Context, id string) (store.Account, error) {
	return once(f.accounts, id, func() (store.Account, error) { return f.view.Account(ctx, id) })
}

// accountsOf returns one account of a platform, or two if there are several.
func (f *finder) accountsOf(ctx context.Context, name platform.Name) ([]store.Account, error) {
	return once(f.platforms, name, func() ([]store.Account, error) { return f.view.AccountsOf(ctx, name, 2) })
}

func (f *finder) medium(ctx context.Context, id string) (store.Media, error) {
	return once(f.media, id, func() (store.Media, error) { return f.view.Media(ctx, id) })
}

// once remembers what was found. What was not ends the request.
func once[K comparable, V any](known map[K]V, name K, find func() (V, error)) (V, error) {
	if v, ok := known[name]; ok {
		return v, nil
	}
	v, err := find()
	if err == nil {
		known[name] = v
	}
	return v, err
}

// know makes the files of a post known, which the caller reaches by the post, if not by themselves: a key of the whole
// organization may have chosen them from another profile.
func (f *finder) know(ctx context.Context, work *store.Work, p store.Post) error {
	files, _, err := work.MediaOf(ctx, p.ID)
	for _, m := range files {
		f.media[m.ID] = m
	}
	return err
}
