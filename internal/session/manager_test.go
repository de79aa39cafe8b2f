// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

const viewer = "letmepost-apikey-viewer"

// find looks a session up, and wants a refusal or nobody's ("").
func (w *world) find(m *session.Manager, token string, want authn.Refusal) *session.Person {
	w.Helper()
	p, err := m.Find(w.Context(), token)
	switch {
	case want == "" && err != nil:
		w.Fatalf("%v", err)
	case want != "" && !errors.Is(err, want):
		w.Errorf("%v, want %v", err, want)
	}
	return p
}

// TestReplicasShareSessions: who has signed in at one is signed in at the other, as the same, and who has signed out of
// one is out of both at once.
func TestReplicasShareSessions(t *testing.T) {
	onBoth(t, func(w *world) {
		one, other := w.replica(), w.replica()
		acme := w.cluster.Namespace(t)
		w.known = append(w.known, w.organization(acme))
		token, signedIn := w.signIn(one, w.credential(acme, "ann", viewer))
		again, _ := w.signIn(other, w.credential(acme, "bob", viewer))
		if token == again || len(token) < 26 {
			t.Errorf("the tokens are %q and %q", token, again)
		}
		w.check(other.Choose(t.Context(), token, w.organization(acme)))
		p := w.find(other, token, "")
		if p.Username != "system:serviceaccount:"+acme+":ann" || p.Organization != w.organization(acme) ||
			!p.SignedInAt.Equal(signedIn.SignedInAt) || !cmp.Equal(p.Groups, signedIn.Groups) || len(p.Groups) == 0 {
			t.Errorf("%+v", p)
		}
		c := p.Caller()
		if c.Organization != p.Organization || c.Environment != key.Live || c.Meter == nil || c.Actor.ExpiresAt != p.ExpiresAt {
			t.Errorf("%+v", c)
		}
		here := w.find(one, token, "")
		w.check(one.SignOut(t.Context(), token))
		if err := here.Refusal(w.clock.Now()); !errors.Is(err, authn.Expired) {
			t.Errorf("a request that runs is told %v", err)
		}
		w.find(one, token, authn.Unknown)
		w.find(other, token, authn.Unknown)
		w.find(one, again, "")
		for _, nonsense := range []string{"", "x", strings.Repeat("x", 100_000), "\x00"} {
			w.find(one, nonsense, authn.Unknown)
			w.check(one.SignOut(t.Context(), nonsense))
		}
		if err := one.Choose(t.Context(), token, w.organization(acme)); !errors.Is(err, authn.Unknown) {
			t.Errorf("chosen for one that is over: %v", err)
		}
	})
}

// TestSessionsEnd: by not being used, with their credential, and after half a day at the latest; and then they are
// gone.
func TestSessionsEnd(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	m := w.replica()
	acme := w.cluster.Namespace(t)
	credential := w.credential(acme, "ann", viewer)

	idle, _ := w.signIn(m, credential)
	w.clock.SetTime(w.clock.Now().Add(store.SessionIdle - time.Second))
	w.find(m, idle, "")
	w.clock.SetTime(w.clock.Now().Add(store.SessionIdle - time.Second)) // since it was used
	w.find(m, idle, "")
	w.clock.SetTime(w.clock.Now().Add(store.SessionIdle))
	w.find(m, idle, authn.Expired)
	w.find(m, idle, authn.Unknown)

	// The credential is one of an hour, as it says itself.
	late, p := w.signIn(m, credential)
	if left := p.ExpiresAt.Sub(w.clock.Now()); left > time.Hour {
		t.Errorf("it lasts for %v", left)
	}
	w.clock.SetTime(p.ExpiresAt.Add(-time.Second))
	if err := p.Refusal(w.clock.Now()); err != nil {
		t.Error(err)
	}
	w.clock.SetTime(p.ExpiresAt)
	if err := p.Refusal(w.clock.Now()); !errors.Is(err, authn.Expired) {
		t.Errorf("a request that runs is told %v", err)
	}
	w.find(m, late, authn.Expired)
	w.find(m, late, authn.Unknown)
}

// TestUnattended: a page that asks by itself does not keep a session, also if it is asked for often; whoever is there
// does.
func TestUnattended(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	m := w.replica()
	token, _ := w.signIn(m, w.credential(w.cluster.Namespace(t), "ann", viewer))
	asks := func(want error) {
		t.Helper()
		if _, err := m.Find(session.Unattended(t.Context()), token); !errors.Is(err, want) {
			t.Errorf("the page is told %v, want %v", err, want)
		}
	}
	w.clock.SetTime(w.clock.Now().Add(store.SessionIdle - time.Second))
	asks(nil)
	w.find(m, token, "")
	for range 3 {
		w.clock.SetTime(w.clock.Now().Add(store.SessionIdle/3 - time.Second))
		asks(nil)
	}
	w.clock.SetTime(w.clock.Now().Add(3 * time.Second))
	asks(authn.Expired)
	w.find(m, token, authn.Unknown)
}

// TestAbsolute: half a day, however long the credential lasts and however often it is used.
func TestAbsolute(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	m := w.replica()
	token, p := w.signIn(m, w.credentialFor(w.cluster.Namespace(t), "ann", viewer, 24*time.Hour))
	began := w.clock.Now()
	if left := p.ExpiresAt.Sub(began); left != 12*time.Hour {
		t.Errorf("it lasts for %v", left)
	}
	for w.clock.Now().Before(began.Add(12*time.Hour - 20*time.Minute)) {
		w.clock.SetTime(w.clock.Now().Add(20 * time.Minute))
		w.find(m, token, "")
	}
	w.clock.SetTime(began.Add(12 * time.Hour))
	w.find(m, token, authn.Expired)
}

// TestCredentialTakenBack: whoever's credential the apiserver does not know any more is signed out, by the next thing
// that they ask for, whatever that is.
func TestCredentialTakenBack(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	one := w.replica()
	acme := w.cluster.Namespace(t)
	token, p := w.signIn(one, w.credential(acme, "ann", viewer))
	w.check(w.admin.CoreV1().ServiceAccounts(acme).Delete(t.Context(), "ann", metav1.DeleteOptions{}))
	eventually(t, func() bool {
		_, err := p.Cluster.Key(t.Context(), acme, "none")
		return apierrors.IsUnauthorized(err)
	})
	if err := p.Refusal(w.clock.Now()); !errors.Is(err, authn.Revoked) {
		t.Errorf("a request that runs is told %v", err)
	}
	w.find(one, token, authn.Revoked)
	w.find(one, token, authn.Unknown)
	for reason, credential := range map[string]string{
		"nobody's": "nonsense", "none": "", "with a header in it": "a\r\nb", "two": "a b", "long": strings.Repeat("x", 16<<10+1),
		"no text": "\xff",
	} {
		if _, _, err := one.SignIn(t.Context(), credential); !apierrors.IsUnauthorized(err) && !errors.Is(err, session.ErrCredential) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// TestStolen: who has the database and even the vault's keyset finds no credential in it, and who changes a row has no
// session of anybody else's.
func TestStolen(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	m := w.replica()
	acme := w.cluster.Namespace(t)
	credential := w.credential(acme, "ann", viewer)
	ann, _ := w.signIn(m, credential)
	bob, _ := w.signIn(m, w.credential(acme, "bob", viewer))
	db, err := sql.Open("sqlite", strings.TrimPrefix(w.url, "sqlite:"))
	w.check(err)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT id, person, key_id, sealed FROM sessions")
	w.check(err)
	defer rows.Close()
	for rows.Next() {
		var id, person string
		var by int64
		var sealed []byte
		w.check(rows.Scan(&id, &person, &by, &sealed))
		text := id + person + string(sealed)
		for _, secret := range []string{ann, bob, credential, base64.StdEncoding.EncodeToString([]byte(ann))} {
			if strings.Contains(text, secret) || by == 0 {
				t.Errorf("a row, sealed by %d, holds %q", by, secret)
			}
		}
	}
	w.check(rows.Err())
	change := func(statement string) {
		t.Helper()
		result, err := db.ExecContext(t.Context(), statement)
		w.check(err)
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			t.Fatalf("%s: %d rows, %v", statement, n, err)
		}
	}
	// Another vault opens nothing, and takes nobody's session away.
	other := w.replica(func(o *session.Options) { o.Vault = newVault(t) })
	if _, err := other.Find(t.Context(), ann); !errors.Is(err, admission.ErrUndecided) {
		t.Errorf("with another keyset: %v", err)
	}
	none := w.replica(func(o *session.Options) { o.Vault = nil })
	if _, err := none.Find(t.Context(), ann); !errors.Is(err, admission.ErrUndecided) {
		t.Errorf("without a vault: %v", err)
	}
	w.find(m, ann, "")
	// Longer than it was made for, somebody else's name, and somebody else's credential.
	carol, _ := w.signIn(m, credential)
	for _, c := range []struct{ token, statement string }{
		{carol, "UPDATE sessions SET sealed = (SELECT sealed FROM sessions AS s WHERE s.id <> '%[1]s' LIMIT 1) WHERE id = '%[1]s'"},
		{ann, "UPDATE sessions SET expires_at = expires_at + 86400000000 WHERE id = '%s'"},
		{bob, "UPDATE sessions SET person = 'person:root' WHERE id = '%s'"},
	} {
		change(fmt.Sprintf(c.statement, session.IDOf(c.token)))
		w.find(m, c.token, authn.Unknown)
	}
}

// TestMadeUp: who can write to the database, and has not the keyset, signs nobody in under a name of their choice, and
// hands nobody over: not with a credential of their own, under a token that they know.
func TestMadeUp(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	m := w.replica()
	// As a process without a keyset seals it: that is what whoever knows how can do anywhere.
	maker := w.replica(func(o *session.Options) { o.Vault = nil })
	credential := w.credential(w.cluster.Namespace(t), "mallory", viewer)
	token, _ := w.signIn(maker, credential)
	w.find(maker, token, "")
	w.find(m, token, authn.Unknown)
	w.find(maker, token, authn.Unknown)
	code, _, err := maker.HandOver(t.Context(), credential)
	w.check(err)
	if _, err := m.HandedOver(t.Context(), code); !errors.Is(err, session.ErrHandover) {
		t.Errorf("%v", err)
	}
}

// TestWithoutAVault: the test environment has no keyset. A session is sealed by its token all the same, and opened by
// every replica.
func TestWithoutAVault(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/test.db")
	w.vault = nil
	test := func(o *session.Options) { o.Environment = key.Test }
	one, other := w.replica(test), w.replica(test)
	credential := w.credential(w.cluster.Namespace(t), "ann", viewer)
	token, _ := w.signIn(one, credential)
	if p := w.find(other, token, ""); p.Environment != key.Test {
		t.Errorf("%+v", p)
	}
	db, err := sql.Open("sqlite", strings.TrimPrefix(w.url, "sqlite:"))
	w.check(err)
	defer db.Close()
	var sealed []byte
	w.check(db.QueryRowContext(t.Context(), "SELECT sealed FROM sessions WHERE key_id = 0").Scan(&sealed))
	if strings.Contains(string(sealed), credential) || strings.Contains(string(sealed), "serviceaccount") {
		t.Errorf("it is in clear text")
	}
}

// TestSealedAgain: who uses a session has it sealed under the vault's new key, so that the old one can be retired.
func TestSealedAgain(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	one := w.replica()
	token, _ := w.signIn(one, w.credential(w.cluster.Namespace(t), "ann", viewer))
	keys, err := w.vault.Keyset()
	w.check(err)
	added, id, err := keys.Add()
	w.check(err)
	promoted, err := added.Promote(id)
	w.check(err)
	w.vault = vault.Fixed(promoted)
	db := w.database(key.Live)
	other := w.replica(func(o *session.Options) { o.Store = db })
	for _, step := range []time.Duration{0, 59 * time.Second, 2 * time.Second} { // nothing is written more than once a minute
		w.clock.SetTime(w.clock.Now().Add(step))
		w.find(other, token, "")
		by, err := db.Work().SealedBy(t.Context())
		if want := map[bool]int{true: 1}[step == 2*time.Second]; err != nil || by[id] != want {
			t.Errorf("after %v more it is sealed by %v, %v", step, by, err)
		}
	}
	w.find(other, token, "")
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	if _, err := session.New(session.Options{Logger: slog.Default()}); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("got %v", err)
	}
}

// eventually waits for what the apiserver takes in by itself.
func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in a minute")
		}
	}
}
