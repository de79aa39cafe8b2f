// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/oauth"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

// idTokens is how long the provider's ID tokens are good for, and nearEnd, when they are about to be renewed.
const idTokens, nearEnd = 10 * time.Minute, 510 * time.Second

// back is where the provider sends browsers. No test follows them.
const back = "https://dashboard.example/dashboard/oidc/callback"

// federation is a world with an OpenID provider that the apiserver trusts.
type federation struct {
	*world
	issuer *oauth.Issuer
	log    *testlog.Buffer
	ahead  time.Duration

	renewals, revocations int64
}

// issuer is the provider that the apiserver of this package's tests trusts. It ends with their process.
var issuer *oauth.Issuer

func startIssuer(folder string) (_ kube.Issuer, err error) {
	if issuer, err = oauth.StartIssuer(context.Background(), folder, idTokens, back); err != nil {
		return kube.Issuer{}, err
	}
	pem, err := os.ReadFile(issuer.CAFile)
	return kube.Issuer{URL: issuer.URL, CA: pem, Client: oauth.Dashboard}, err
}

func newFederation(t *testing.T, url string) *federation {
	t.Helper()
	f := &federation{world: newWorld(t, url), log: new(testlog.Buffer)}
	f.issuer = issuer
	f.check(issuer.Restored(t.Context()))
	// The apiserver has asked it when it started, and takes its time to know that it has.
	_, by := f.replica(oauth.Dashboard)
	token := f.tokens(by, "first").ID
	eventually(t, func() bool {
		config := rest.AnonymousClientConfig(f.cluster.AdminConfig())
		config.BearerToken = token
		_, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().
			Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		return err == nil
	})
	f.renewals, f.revocations = issuer.Renewals.Load(), issuer.Revocations.Load()
	return f
}

// since returns how many renewals and revocations the provider was asked for since the last time.
func (f *federation) since() (renewals, revocations int64) {
	renewals, revocations = f.renewals, f.revocations
	f.renewals, f.revocations = f.issuer.Renewals.Load(), f.issuer.Revocations.Load()
	return f.renewals - renewals, f.revocations - revocations
}

// replica is one process' sessions, with the provider as it reaches it.
func (f *federation) replica(client string) (*session.Manager, *oidc.Provider) {
	f.Helper()
	p, err := oidc.New(oidc.Config{
		Issuer: f.issuer.URL, ClientID: client, Roots: f.issuer.Roots, RedirectURL: back,
		ClientSecret: func() (string, error) { return f.issuer.ClientSecret, nil },
		Scopes:       []string{"profile", "groups", "offline_access"}, Random: rand.Reader, Clock: f.clock,
	})
	f.check(err)
	f.Cleanup(p.Close)
	return f.world.replica(func(o *session.Options) {
		o.Provider, o.Logger = p, slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}), p
}

// tokens are what the provider gives somebody.
func (f *federation) tokens(p *oidc.Provider, who string) oidc.Tokens {
	f.Helper()
	b, err := p.Begin(f.Context(), "/dashboard/")
	f.check(err)
	page, err := url.Parse(b.URL)
	f.check(err)
	at, err := f.issuer.SignIn(f.Context(), page, who)
	f.check(err)
	tokens, _, err := p.Finish(f.Context(), b.Kept, at.Query())
	f.check(err)
	return tokens
}

func (f *federation) signInBy(m *session.Manager, p *oidc.Provider, who string) string {
	f.Helper()
	token, _, err := m.SignInBy(f.Context(), f.tokens(p, who))
	f.check(err)
	return token
}

// advance sets the clocks of the replicas and of the provider ahead. The apiserver's stays: to it, ID tokens are good
// for longer.
func (f *federation) advance(by time.Duration) {
	f.Helper()
	f.ahead += by
	f.clock.SetTime(time.Now().Add(f.ahead))
	f.check(f.issuer.Ahead(f.Context(), f.ahead))
}

// found waits until a session can be found again.
func (f *federation) found(m *session.Manager, token string) {
	f.Helper()
	eventually(f.T, func() bool {
		_, err := m.Find(f.Context(), token)
		if err != nil && !errors.Is(err, admission.ErrUndecided) {
			f.Fatal(err)
		}
		return err == nil
	})
}

// hunt looks for what the provider has given, in the log.
func (f *federation) hunt() {
	f.Helper()
	secrets := f.issuer.Secrets()
	if len(secrets) < 4 {
		f.Errorf("only %d secrets went by", len(secrets))
	}
	for _, s := range append(secrets, f.issuer.ClientSecret) {
		if strings.Contains(f.log.String(), s) {
			f.Errorf("the log holds %q:\n%s", s, f.log)
		}
	}
}

// TestProvidersPeople: whom the provider names is somebody to the cluster, in their groups, with the rights of those;
// their session outlasts the ID token, is renewed once whichever replicas are asked at that moment, and ends with them.
func TestProvidersPeople(t *testing.T) {
	onBoth(t, func(w *world) {
		f := newFederation(w.T, w.url)
		one, by := f.replica(oauth.Dashboard)
		other, _ := f.replica(oauth.Dashboard)
		acme := f.cluster.Namespace(f.T)
		const friends = "oidc:friends-of-ann"
		f.bindTo(acme, "friends", viewer, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: friends},
			authorizationv1.SubjectAccessReviewSpec{Groups: []string{friends}})
		token := f.signInBy(one, by, "ann")
		p := f.find(one, token, "")
		if p.Username != "oidc:ann" || !slices.Contains(p.Groups, friends) ||
			p.ExpiresAt.Sub(f.clock.Now()).Round(time.Second) != 12*time.Hour {
			f.Errorf("%+v", p)
		}
		may, err := p.Cluster.May(f.Context(), f.clock.Now(), session.Right{Verb: "list", Resource: "apikeys", Namespace: acme})
		if err != nil || !may {
			f.Errorf("of the rights of their group, they have: %t, %v", may, err)
		}
		f.find(other, token, "")
		if renewed, _ := f.since(); renewed != 0 {
			f.Errorf("renewed %d times at once", renewed)
		}

		// Near its end, and then once more after it, by many at once.
		for _, after := range []time.Duration{nearEnd, idTokens + time.Minute} {
			f.advance(after)
			var all sync.WaitGroup
			for n := range 8 {
				all.Go(func() { f.find([]*session.Manager{one, other}[n%2], token, "") })
			}
			all.Wait()
			if renewed, _ := f.since(); renewed != 1 {
				f.Errorf("%v later, it was renewed %d times", after, renewed)
			}
		}
		f.check(one.SignOut(f.Context(), token))
		f.find(other, token, authn.Unknown)
		if _, revoked := f.since(); revoked != 1 {
			f.Errorf("%d refresh tokens were revoked", revoked)
		}
		f.hunt()
	})
}

// TestProviderSaysNo: what was revoked at the provider, is about somebody else, or was never for this cluster.
func TestProviderSaysNo(t *testing.T) {
	f := newFederation(t, "sqlite:"+t.TempDir()+"/live.db")
	m, by := f.replica(oauth.Dashboard)
	token := f.signInBy(m, by, "ann")
	f.check(f.issuer.Revoke(f.Context()))
	f.find(m, token, "")
	f.advance(nearEnd)
	f.find(m, token, authn.NotRenewed)
	f.find(m, token, authn.Unknown)

	bob := f.tokens(by, "bob")
	bob.Subject = "ann" // as if the provider named somebody else from now on
	token, _, err := m.SignInBy(f.Context(), bob)
	f.check(err)
	f.advance(nearEnd)
	f.since()
	f.find(m, token, authn.NotRenewed)
	if _, revoked := f.since(); revoked != 1 {
		f.Errorf("of a session that is over, %d refresh tokens were given back", revoked)
	}

	// The provider renews access alone: the session ends with the ID token that it has.
	token = f.signInBy(m, by, "carol")
	f.issuer.Change(nil, func(path string, body []byte) []byte {
		var answer map[string]any
		if strings.HasSuffix(path, "/accessToken") && json.Unmarshal(body, &answer) == nil {
			delete(answer, "id_token")
			body, _ = json.Marshal(answer)
		}
		return body
	})
	f.advance(nearEnd)
	f.find(m, token, "")
	if _, revoked := f.since(); revoked != 1 {
		f.Errorf("of a session that is not renewed any more, %d refresh tokens were given back", revoked)
	}
	f.advance(idTokens - nearEnd + time.Second)
	f.find(m, token, authn.Expired)
	f.issuer.Change(nil, nil)

	// Another client's ID tokens are nobody's to the cluster, and what came with them is given back.
	strange, stranger := f.replica(oauth.Stranger)
	f.since()
	if _, _, err := strange.SignInBy(f.Context(), f.tokens(stranger, "dave")); !apierrors.IsUnauthorized(err) {
		f.Errorf("another audience: %v", err)
	}
	if _, revoked := f.since(); revoked != 1 {
		f.Errorf("%d refresh tokens were given back", revoked)
	}
	f.hunt()
}

// TestProviderAway: the old credential is good until its end; then nobody can tell, and nobody is signed out.
func TestProviderAway(t *testing.T) {
	f := newFederation(t, "sqlite:"+t.TempDir()+"/live.db")
	m, by := f.replica(oauth.Dashboard)
	token := f.signInBy(m, by, "ann")
	f.issuer.Away.Store(true)
	f.advance(nearEnd)
	f.find(m, token, "")
	f.advance(idTokens - nearEnd + time.Second)
	_, err := m.Find(f.Context(), token)
	if !errors.Is(err, admission.ErrUndecided) || !errors.Is(err, oidc.ErrUnavailable) {
		f.Errorf("%v", err)
	}
	f.issuer.Away.Store(false)
	f.found(m, token)
	// Whoever signs out is signed out, whether or not the provider hears of it.
	f.issuer.Away.Store(true)
	f.check(m.SignOut(f.Context(), token))
	f.find(m, token, authn.Unknown)
	f.hunt()
}

// TestNotTaken: whose credential the cluster does not take any more has a session that goes on, if the provider renews
// it. A request that runs is told so, does nothing more, and is nobody's end.
func TestNotTaken(t *testing.T) {
	f := newFederation(t, "sqlite:"+t.TempDir()+"/live.db")
	m, by := f.replica(oauth.Dashboard)
	token := f.signInBy(m, by, "ann")
	told := func(p *session.Person, at time.Time) {
		t.Helper()
		var over authn.Refusal
		err := p.Refusal(at)
		if !errors.Is(err, session.ErrNotTaken) || !errors.Is(err, admission.ErrUndecided) || errors.As(err, &over) {
			t.Errorf("a request that runs is told %v", err)
		}
	}
	p := f.find(m, token, "")
	told(p, f.clock.Now().Add(idTokens+time.Second)) // the credential has expired meanwhile
	f.check(p.Refusal(f.clock.Now()))
	session.Refuse(p)
	told(p, f.clock.Now())
	f.since()
	next := f.find(m, token, "")
	f.check(next.Refusal(f.clock.Now()))
	if renewed, _ := f.since(); renewed != 1 {
		t.Errorf("renewed %d times", renewed)
	}
	told(p, f.clock.Now())
	// The session's own end is told as that all the same.
	if err := next.Refusal(next.ExpiresAt); !errors.Is(err, authn.Expired) {
		t.Errorf("after half a day, a request that runs is told %v", err)
	}
	session.Refuse(next)
	f.check(f.issuer.Revoke(t.Context()))
	f.find(m, token, authn.NotRenewed)
	if err := next.Refusal(f.clock.Now()); !errors.Is(err, authn.Expired) {
		t.Errorf("once it is over, a request that runs is told %v", err)
	}
	f.hunt()
}
