// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/session"
)

// TestHandover: what was handed over at one replica begins one session, at whichever, however many come for it at once;
// until then anybody with the code may look whose it is, and it is no session itself.
func TestHandover(t *testing.T) {
	onBoth(t, func(w *world) {
		one, other := w.replica(), w.replica()
		acme := w.cluster.Namespace(t)
		ann := "system:serviceaccount:" + acme + ":ann"
		credential := w.credential(acme, "ann", viewer)
		code, until, err := one.HandOver(t.Context(), credential)
		w.check(err)
		if left := until.Sub(w.clock.Now()); left > time.Minute || len(code) < 26 {
			t.Errorf("%q, for %v", code, left)
		}
		for _, m := range []*session.Manager{one, other, other} {
			if who, err := m.HandedOver(t.Context(), code); err != nil || who != ann {
				t.Errorf("%q, %v", who, err)
			}
		}
		w.find(other, code, authn.Unknown)
		var began atomic.Int32
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				token, p, err := []*session.Manager{one, other}[i%2].TakeOver(t.Context(), code)
				switch {
				case err == nil:
					began.Add(1)
					if p.Username != ann || w.find(one, token, "").Username != ann {
						t.Errorf("%q", p.Username)
					}
				case !errors.Is(err, session.ErrHandover):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if began.Load() != 1 {
			t.Errorf("%d sessions began", began.Load())
		}
		if _, err := other.HandedOver(t.Context(), code); !errors.Is(err, session.ErrHandover) {
			t.Errorf("used, and then %v", err)
		}
	})
}

// TestNoHandover: after its minute, with a token of a session, of a credential that is good for nobody or is not any
// more when its browser comes, nobody is signed in.
func TestNoHandover(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	m := w.replica()
	acme := w.cluster.Namespace(t)
	credential := w.credential(acme, "ann", viewer)
	late, until, err := m.HandOver(t.Context(), credential)
	w.check(err)
	w.clock.SetTime(until)
	token, p := w.signIn(m, credential)
	for reason, code := range map[string]string{
		"its minute is over": late, "a session's token": token, "a guess": "guess", "nothing": "", "not of UTF-8": "\xff\x00",
	} {
		if _, err := m.HandedOver(t.Context(), code); !errors.Is(err, session.ErrHandover) {
			t.Errorf("%s: shown with %v", reason, err)
		}
		if _, _, err := m.TakeOver(t.Context(), code); !errors.Is(err, session.ErrHandover) {
			t.Errorf("%s: taken with %v", reason, err)
		}
	}
	w.find(m, token, "")
	for _, credential := range []string{"", "two words", "guess"} {
		if _, _, err := m.HandOver(t.Context(), credential); !errors.Is(err, session.ErrCredential) && !apierrors.IsUnauthorized(err) {
			t.Errorf("%q: %v", credential, err)
		}
	}
	code, _, err := m.HandOver(t.Context(), credential)
	w.check(err)
	w.check(w.admin.CoreV1().ServiceAccounts(acme).Delete(t.Context(), "ann", metav1.DeleteOptions{}))
	eventually(t, func() bool { // not by signing in: of one person there are only so many
		_, err := p.Cluster.WhoAmI(t.Context())
		return apierrors.IsUnauthorized(err)
	})
	if _, _, err := m.TakeOver(t.Context(), code); !apierrors.IsUnauthorized(err) {
		t.Errorf("of a credential that was taken back: %v", err)
	}
}

// TestManySignIns: as many as the apiserver is asked about at once are waited for, and one more is told so; then they
// go on.
func TestManySignIns(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	arrived, goOn := make(chan struct{}, 1000), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		a.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(slow.Close)
	apiserver, err := session.NewApiserver(&rest.Config{Host: slow.URL})
	w.check(err)
	m := w.replica(func(o *session.Options) { o.Apiserver = apiserver })
	var all sync.WaitGroup
	for range session.MaxAsking {
		all.Go(func() {
			if _, _, err := m.SignIn(context.WithoutCancel(t.Context()), "guess"); !apierrors.IsUnauthorized(err) {
				t.Error(err)
			}
		})
	}
	for range session.MaxAsking {
		<-arrived
	}
	if _, _, err := m.SignIn(t.Context(), "guess"); !errors.Is(err, session.ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	if _, _, err := m.HandOver(t.Context(), "guess"); !errors.Is(err, session.ErrBusy) {
		t.Errorf("one more to hand over: %v", err)
	}
	close(goOn)
	all.Wait()
	if _, _, err := m.SignIn(t.Context(), "guess"); !apierrors.IsUnauthorized(err) {
		t.Errorf("when they are through: %v", err)
	}
}
