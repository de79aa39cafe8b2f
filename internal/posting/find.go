// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package posting

import (
	"context"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// finder looks up what one draft names, each thing once: 25 targets may name one file 500 times.
type finder struct {
	view      *store.View // nothing beyond it is found, whatever is named
	accounts  map[string]store.Account
	platforms map[platform.Name][]store.Account
	media     map[string]store.Media // beside what the view reaches, what addMediaOf has made known
}

// newFinder returns a finder that knows nothing yet. It is for one request: what it remembers is not looked at again,
// so a longer life would make it a cache of what others may have deleted.
func newFinder(view *store.View) *finder {
	return &finder{
		view:      view,
		accounts:  map[string]store.Account{},
		platforms: map[platform.Name][]store.Account{},
		media:     map[string]store.Media{},
	}
}

// once remembers what was found. What was not found ends the request, so that is not worth remembering.
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

// account finds an account that the caller reaches.
func (f *finder) account(ctx context.Context, id string) (store.Account, error) {
	return once(f.accounts, id, func() (store.Account, error) { return f.view.Account(ctx, id) })
}

// accountsOf returns one account of a platform, or two if there are several: how many there are is of no interest, only
// whether the platform's name is enough to know which one is meant.
func (f *finder) accountsOf(ctx context.Context, name platform.Name) ([]store.Account, error) {
	return once(f.platforms, name, func() ([]store.Account, error) { return f.view.AccountsOf(ctx, name, 2) })
}

// medium finds a file that the caller reaches, by themselves or by addMediaOf.
func (f *finder) medium(ctx context.Context, id string) (store.Media, error) {
	return once(f.media, id, func() (store.Media, error) { return f.view.Media(ctx, id) })
}

// addMediaOf makes the files of a post known. Its caller reaches the post, and with it these files, even those of
// another profile, which somebody who reaches the whole organization may have chosen. Without this, whoever is confined
// to the post's profile could not change its text, because its files would not be found. They are told of no id of such
// a file, so the post gets it back here.
func (f *finder) addMediaOf(ctx context.Context, work *store.Work, p *store.Post) error {
	files, _, err := work.MediaOf(ctx, p.ID)
	for i, m := range files {
		f.media[m.ID] = m
		if i < len(p.Media) {
			p.Media[i].MediaID = m.ID
		}
	}
	return err
}

// accountFor finds the account that a target means. at is where the target stands. A target may say one thing twice, by
// accountId, platform and options: if they don't agree, one of them is a mistake, and nobody knows which.
func accountFor(ctx context.Context, find *finder, t Target, at string) (store.Account, error) {
	if t.Platform != nil {
		// First, so that a typing error is told as such, and not as a platform of which no account is connected.
		if _, known := catalog.All.Get(*t.Platform); !known {
			return store.Account{}, NoPlatform(at + ".platform")
		}
	}
	if t.Options != nil {
		if _, known := catalog.All.Get(t.Options.Platform); !known {
			return store.Account{}, NoPlatform(at + ".options.platform")
		}
	}
	account, err := lookUpAccount(ctx, find, t, at)
	switch {
	case err != nil:
		return account, err
	case t.Platform != nil && *t.Platform != account.Platform:
		return account, errPlatformMismatch
	case t.Options != nil && t.Options.Platform != account.Platform:
		return account, errOptionsMismatch
	}
	return account, nil
}

// lookUpAccount finds the account by its id or, without one, by its platform. With several of a platform none is
// chosen: the wrong one would publish under somebody else's name.
func lookUpAccount(ctx context.Context, find *finder, t Target, at string) (store.Account, error) {
	switch {
	case t.AccountID != nil:
		account, err := find.account(ctx, *t.AccountID)
		return account, OrNotFound(err, ErrNoAccount)
	case t.Platform == nil:
		return store.Account{}, problem.NewInvalid(at+".accountId", "A target has neither accountId nor platform.",
			"Send one of them, or both.")
	}
	accounts, err := find.accountsOf(ctx, *t.Platform)
	switch {
	case err != nil:
		return store.Account{}, err
	case len(accounts) == 0:
		return store.Account{}, errNotConnected
	case len(accounts) > 1:
		return store.Account{}, errAmbiguous
	}
	return accounts[0], nil
}
