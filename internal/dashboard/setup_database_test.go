// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// publishing is what lies in SQL, sessions too, and what publishes: to platforms that are played.
type publishing struct {
	store      *store.DB
	publisher  *publish.Publisher
	platforms  platform.List
	writes     *write.Protocol
	posting    *posting.Posting
	keeper     *connection.Keeper
	connecting *connecting.Connecting
	browser    *browsed
}

// browsed is Bluesky, played: it takes what is filled in, or sends browsers away as real platforms do. What it is given
// to go on with comes back.
type browsed struct {
	platform.Connector
	given platform.ConnectionAnswer // the last
}

func (b *browsed) Begin(ctx context.Context, in platform.ConnectionRequest) (platform.Begun, error) {
	if in.Method != platform.ByOAuth {
		return b.Connector.Begin(ctx, in)
	}
	return platform.Begun{
		State: platform.ConnectionStable, Descriptor: platform.Descriptor{Kind: platform.ByOAuth}, Resume: []byte("verifier"),
		AuthorizationURL: &url.URL{Scheme: "https", Host: "platform.example", RawQuery: url.Values{"state": {in.State}}.Encode()},
	}, nil
}

func (b *browsed) Complete(ctx context.Context, in platform.ConnectionAnswer) (platform.Connection, error) {
	b.given = in
	if in.Callback == nil {
		c, err := b.Connector.Complete(ctx, in)
		c.Secrets = platform.Secrets{platform.SecretAppPassword: in.Credentials["appPassword"]}
		if in.Credentials["identifier"] == "warned.test" {
			c.Warnings = warned
		}
		return c, err
	}
	code := in.Callback.Get("code")
	if code != "good" && code != "warned" || string(in.Resume) != "verifier" {
		return platform.Connection{}, &platform.Failure{Code: platform.CodeAuthFailed, Message: "The person has <b>refused</b>."}
	}
	c := platform.Connection{
		PlatformAccountID: "did:test:browsed", DisplayName: "browsed", Secrets: platform.Secrets{platform.SecretAppPassword: "a-token"},
	}
	if code == "warned" {
		c.Warnings = warned
	}
	return c, nil
}

// warned is what is noticed of an account, which is connected all the same.
var warned = []platform.Warning{{Code: "test.warned", Message: "This opens <b>more</b> than it has to."}}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func (w *world) openDatabase(t *testing.T, logger *slog.Logger) {
	t.Helper()
	dir := t.TempDir()
	var err error
	w.store, err = store.Open(store.Options{
		URL: "sqlite:" + filepath.Join(dir, "test.db"), Clock: clock.RealClock{}, NewID: newID, Logger: logger,
		Environment: key.Live,
	})
	check(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	library, err := media.Open(ctx, (&url.URL{Scheme: "file", Path: filepath.Join(dir, "media")}).String(), media.DefaultMaxSize)
	check(t, err)
	w.platforms = sandbox.OfAll(catalog.All, newID, clock.RealClock{})
	played, _ := w.platforms.Get(bluesky.Name)
	w.browser = &browsed{Connector: played.Connector}
	played.Connector, played.InBrowser = w.browser, true
	w.platforms[slices.IndexFunc(w.platforms, func(p platform.Platform) bool { return p.Name == bluesky.Name })] = played
	keyset, err := vault.NewKeyset()
	check(t, err)
	w.keeper, err = connection.New(connection.Options{
		Store: w.store, Vault: vault.Fixed(keyset), Platforms: w.platforms, Clock: clock.RealClock{}, Logger: logger,
		Registerer: prometheus.NewRegistry(),
	})
	check(t, err)
	w.connecting = connecting.New(connecting.Options{
		Platforms: w.platforms, Connections: w.keeper, Public: &url.URL{Scheme: "https", Host: "api.example.com"},
		NewID: newID, Random: rand.Reader, Clock: clock.RealClock{},
	})
	w.publisher, err = publish.New(publish.Options{
		Store: w.store, Media: library, Environment: key.Live, Platforms: w.platforms, Clock: clock.RealClock{},
		Logger: logger, Registerer: prometheus.NewRegistry(),
	})
	check(t, err)
	var running sync.WaitGroup
	running.Go(func() { w.store.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		check(t, library.Close())
		check(t, w.store.Close())
	})
	select {
	case <-w.store.Migrated():
	case <-time.After(time.Minute):
		t.Fatal("the database is not migrated")
	}
	w.writes = &write.Protocol{Later: w.publisher.RecordLater, Logger: logger, Wait: time.Second}
	w.posting = posting.New(posting.Options{
		Store: w.store, Publisher: w.publisher, Profiles: w.index, NewID: newID, Clock: clock.RealClock{},
	})
}

// right lets somebody do something to what lies in the database of an organization. RBAC alone knows these resources.
func (w *world) right(t *testing.T, namespace, account string, verbs []string, resources ...string) {
	t.Helper()
	name := account + "-" + uuid.NewString()
	check(t, w.admin.Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: resources, Verbs: verbs}},
	}))
	check(t, w.admin.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}},
	}))
}

// member is somebody of an organization with these rights, signed in. Everybody may list its keys and profiles.
func (w *world) member(t *testing.T, organization, name string, verbs []string, resources ...string) *visitor {
	t.Helper()
	token := w.credential(t, organization, name, "letmepost-apikey-viewer")
	if len(verbs) > 0 {
		w.right(t, organization, name, verbs, resources...)
	}
	return w.signedIn(t, token, organization)
}

// reaching is what a caller of the whole organization reaches of the database.
func (w *world) reaching(t *testing.T, organization string) *store.View {
	t.Helper()
	return w.store.View(&caller.Caller{
		Organization: caller.Organization{ID: w.idOf(t, organization), Name: organization}, Environment: key.Live,
		Actor: caller.KeyActor(uuid.NewString(), "test", time.Time{}, [4]byte{}),
	})
}

func (w *world) idOf(t *testing.T, organization string) string {
	t.Helper()
	var n corev1.Namespace
	check(t, w.admin.Get(t.Context(), client.ObjectKey{Name: organization}, &n))
	return string(n.UID)
}

// account connects an account of a profile; "": of the organization alone.
func (w *world) account(
	t *testing.T, organization, profileID, name string, mods ...func(*store.Account),
) store.Account {
	t.Helper()
	a := store.Account{
		ID: newID(), ProfileID: profileID, Platform: bluesky.Name, PlatformAccountID: "did:plc:" + name, DisplayName: name,
		CreatedAt: time.Now(),
	}
	for _, mod := range mods {
		mod(&a)
	}
	check(t, w.reaching(t, organization).Write(t.Context(), func(tx *store.Tx) (err error) {
		a, _, err = tx.PutAccount(a)
		return err
	}))
	return a
}

// post adds a post for an account, which is to go in an hour.
func (w *world) post(
	t *testing.T, organization string, a store.Account, text string, mods ...func(*store.Post),
) store.Post {
	t.Helper()
	p := store.Post{
		ID: newID(), BatchID: newID(), ProfileID: a.ProfileID, MadeBy: "gone-key", AccountID: a.ID, Platform: a.Platform,
		Status: store.Queued, Text: text, ScheduledAt: time.Now().Add(time.Hour), CreatedAt: time.Now(),
	}
	for _, mod := range mods {
		mod(&p)
	}
	check(t, w.reaching(t, organization).Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.AddPosts([]store.Post{p})
		return err
	}))
	return p
}

// tried adds a post that was tried once and did not go out.
func (w *world) tried(
	t *testing.T, organization string, a store.Account, text string, why platform.Failure, mods ...func(*store.Post),
) store.Post {
	t.Helper()
	p := store.Post{
		ID: newID(), BatchID: newID(), ProfileID: a.ProfileID, MadeBy: "gone-key", AccountID: a.ID, Platform: a.Platform,
		Status: store.Publishing, Text: text, CreatedAt: time.Now(),
	}
	for _, mod := range mods {
		mod(&p)
	}
	check(t, w.reaching(t, organization).Write(t.Context(), func(tx *store.Tx) error {
		attempts, err := tx.AddPosts([]store.Post{p})
		if err != nil {
			return err
		}
		return tx.Finish([]store.Outcome{{Attempt: attempts[0], Failure: &why}})
	}))
	return p
}

// furnishDatabase fills an organization with accounts and posts of all kinds.
func (w *world) furnishDatabase(t *testing.T, organization string) {
	t.Helper()
	var profile v1alpha1.Profile // which furnishKeys has made
	check(t, w.admin.Get(t.Context(), client.ObjectKey{Namespace: organization, Name: "shop"}, &profile))
	before := profile.DeepCopy()
	profile.Spec = v1alpha1.ProfileSpec{
		DisplayName: "The Shop", Description: "What the shop has to say to its customers.",
		MaxKeyLifetime:   &metav1.Duration{Duration: 720 * time.Hour},
		DefaultRateLimit: &v1alpha1.RateLimit{Requests: 600, Window: metav1.Duration{Duration: time.Minute}},
	}
	check(t, w.admin.Patch(t.Context(), &profile, client.MergeFrom(before)))
	a := w.account(t, organization, string(profile.UID), "shop.example.com")
	b := w.account(t, organization, "", "news.example.com", func(a *store.Account) {
		a.ID, a.Platform, a.TokenExpiresAt = shownAccount, "linkedin", time.Now().Add(72*time.Hour)
	})
	w.tried(t, organization, a, strings.Repeat("A post that its platform did not take, because it says too much. ", 4), platform.Failure{
		Code: platform.CodeRejected, Message: "The platform rejected the post.", Rule: "bluesky.text.length",
		Remediation: "Make the text shorter, and post it again.", PlatformResponse: json.RawMessage(`{"error":"InvalidRequest","message":"too long"}`),
	}, func(p *store.Post) { p.ID = shownPost })
	w.post(t, organization, a, "Our new catalogue is out: have a look at what autumn brings.")
	w.post(t, organization, b, "We are hiring.")
}
