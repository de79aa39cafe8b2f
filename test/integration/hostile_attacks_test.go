// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// hostile is a tenant with the credentials of one namespace, who is up to no good.
type hostile struct {
	desk
	kube       client.Client
	live, test *server
	victim     *neighbour

	busy   []string // accounts, one for each slow post at a time
	stored int      // bytes of the texts to search
	great  string   // a directory, see newGreat
	bursts sync.Mutex
	serial atomic.Int64
	mu     sync.Mutex
	done   map[string]int    // how often each attack was carried out
	landed map[string]bool   // which of those that are to get in were let in, and not only refused
	leaks  map[string]string // what of the neighbour was seen, by where
}

func newHostile(ctx SpecContext, live, test limited, victim *neighbour) *hostile {
	GinkgoHelper()
	h := &hostile{
		desk: newDesk(ctx, test.server), live: live.server, test: test.server, victim: victim,
		great: newGreat(), done: map[string]int{}, landed: map[string]bool{}, leaks: map[string]string{},
	}
	var err error
	h.kube, err = client.New(credentialsIn(ctx, h.namespace), client.Options{Scheme: admin.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	for i := range 20 { // posts of one account go out one at a time: many accounts are needed to fill the queue
		a, err := connecting("bluesky", fmt.Sprintf("busy-%d.test", i)).send(ctx, test.url, h.key)
		Expect(err).NotTo(HaveOccurred())
		var account struct{ ID string }
		Expect(a.into(&account)).To(Succeed())
		h.busy = append(h.busy, account.ID)
	}
	return h
}

// Names of attacks that have to get in.
const (
	cancelingKeys  = "keys to be canceled, deleted"
	sharingSecret  = "keys of one Secret"
	annotatingKeys = "keys with great annotations"
	bringingKeys   = "the neighbour's hashes"
	heavyTexting   = "alternative texts of many bytes"
	pagingLong     = "long pages"
	searching      = "searches that cost much"
	postingSlowly  = "slow posts"
	guessing       = "wrong keys" // until they are told to wait
)

// attacks are what is tried, all at once and again and again. None has to succeed: what they may not do is harm.
var attacks = map[string]func(*hostile, context.Context, *mathrand.Rand){
	"keys with their finalizer many times over": (*hostile).repeatFinalizers,
	"keys without a finalizer, and deleted":     (*hostile).dropFinalizer,
	cancelingKeys:                               (*hostile).cancelScheduled,
	sharingSecret:                               (*hostile).shareSecret,
	annotatingKeys:                              (*hostile).annotate,
	"names of others' Secrets":                  (*hostile).foreignNames,
	bringingKeys:                                (*hostile).claimHashes,
	"the neighbour's Secrets and keys":          (*hostile).readOthers,
	heavyTexting:                                (*hostile).heavyTexts,
	pagingLong:                                  (*hostile).longPages,
	searching:                                   (*hostile).search,
	"headers without an end":                    (*hostile).unfinishedHeaders,
	"uploads with great part headers":           (*hostile).partHeaders,
	"uploads that never end":                    (*hostile).slowUploads,
	"forwarded addresses":                       (*hostile).forwarded,
	guessing:                                    (*hostile).guess,
	postingSlowly:                               (*hostile).slowPosts,
	"nested and odd bodies":                     (*hostile).oddBodies,
	"ids of others":                             (*hostile).guessIDs,
	"keys in wrong places":                      (*hostile).misplace,
}

// chosen are the names of the attacks of this run: all, or those with one of the words of $LMP_ATTACK, which are
// separated by commas. Alone, an attack shows whether it is noticed when the defence against it is gone.
func chosen() []string {
	words := strings.Split(os.Getenv("LMP_ATTACK"), ",")
	return slices.DeleteFunc(slices.Sorted(maps.Keys(attacks)), func(name string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return strings.Contains(name, word) })
	})
}

// attack carries out the attacks until ctx ends. Their dice are of the run's seed.
func (h *hostile) attack(ctx context.Context) *errgroup.Group {
	var group errgroup.Group
	for i, name := range chosen() {
		dice := random(5000 + i)
		group.Go(func() error {
			for ctx.Err() == nil {
				attacks[name](h, ctx, dice)
				h.mu.Lock()
				h.done[name]++
				h.mu.Unlock()
				_ = pass(ctx, 50*time.Millisecond)
			}
			return nil
		})
	}
	return &group
}

// mustLand are the attacks that are no attacks if they are refused from the beginning.
var mustLand = []string{
	bringingKeys, cancelingKeys, sharingSecret, annotatingKeys, heavyTexting, pagingLong, searching,
	postingSlowly, guessing,
}

// lands notes whether something of an attack was let in.
func (h *hostile) lands(attack string, in bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.landed[attack] = h.landed[attack] || in
}

// idle are the attacks that were never carried out.
func (h *hostile) idle() (found []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range chosen() {
		if h.done[name] == 0 || slices.Contains(mustLand, name) && !h.landed[name] {
			found = append(found, name)
		}
	}
	return found
}

func (h *hostile) String() string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h.done)) {
		fmt.Fprintf(&text, "%s: %d; ", name, h.done[name])
	}
	return text.String()
}

// seen is what of the neighbour the tenant has got to see.
func (h *hostile) seen() map[string]string { return h.leaks }

// look searches what somebody was answered for what is the neighbour's.
func (h *hostile) look(where string, content []byte) {
	if bytes.Contains(content, []byte(canary)) {
		h.leak(where, string(content))
	}
}

// longest is how long an answer may be: a page ends soon after a megabyte.
const longest = 3 << 19

// on makes a call with the tenant's key, and looks at the answer.
func (h *hostile) on(ctx context.Context, c call) answer {
	a, err := c.send(ctx, h.test.url, h.key)
	if err == nil {
		where := c.method + " " + c.path[:min(len(c.path), 100)]
		h.look(where, a.body)
		if len(a.body) > longest {
			h.leak(where, fmt.Sprintf("an answer of %d bytes", len(a.body)))
		}
		if a.status >= http.StatusInternalServerError && a.status != http.StatusServiceUnavailable {
			h.leak(where, a.String())
		}
	}
	return a
}

func (h *hostile) name() string { return fmt.Sprintf("lmp-hostile-%d", h.serial.Add(1)) }

// keys makes some keys, each changed in some way, does something to them, and deletes them. There may be a limit to how
// many there are: what is not deleted by the controller stays.
func (h *hostile) keys(
	ctx context.Context, n int, change func(*v1alpha1.ApiKey), then func(*v1alpha1.ApiKey),
) (in bool) {
	var made atomic.Int64
	var group errgroup.Group
	group.SetLimit(4)
	for range n {
		group.Go(func() error {
			k := apiKey(h.namespace, h.name())
			change(k)
			if h.kube.Create(ctx, k) != nil {
				return nil
			}
			made.Add(1)
			if then != nil {
				then(k)
			}
			_ = h.kube.Delete(ctx, k)
			return nil
		})
	}
	_ = group.Wait()
	return made.Load() > 0
}

// refused makes a key that is not to be let in.
func (h *hostile) refused(ctx context.Context, what string, change func(*v1alpha1.ApiKey)) {
	h.keys(ctx, 1, change, func(k *v1alpha1.ApiKey) { h.leak(what, "was let in: "+k.Name) })
}

func (h *hostile) repeatFinalizers(ctx context.Context, _ *mathrand.Rand) {
	for range 20 {
		h.refused(ctx, "the finalizer many times over", func(k *v1alpha1.ApiKey) {
			k.Finalizers = slices.Repeat([]string{v1alpha1.FinalizerRevocation}, 200)
		})
	}
}

func (h *hostile) dropFinalizer(ctx context.Context, _ *mathrand.Rand) {
	h.keys(ctx, 2, func(k *v1alpha1.ApiKey) { k.Finalizers = []string{v1alpha1.FinalizerRevocation} }, func(k *v1alpha1.ApiKey) {
		if h.kube.Patch(ctx, k, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":[]}}`))) == nil {
			h.leak("a key without its finalizer", k.Name)
		}
	})
}

// foreignNames has keys minted into Secrets that somebody else waits for, mirrors or takes for theirs.
func (h *hostile) foreignNames(ctx context.Context, _ *mathrand.Rand) {
	for _, name := range []string{"x-tls", "sh.helm.release.v1.x.v1"} {
		h.refused(ctx, "the name "+name, func(k *v1alpha1.ApiKey) { k.Spec.SecretName = name })
	}
	for _, key := range []string{"reflector.v1.k8s.emberstack.com/reflection-auto-enabled", "meta.helm.sh/release-name"} {
		h.refused(ctx, "the annotation "+key, func(k *v1alpha1.ApiKey) {
			k.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Annotations: map[string]v1alpha1.AnnotationValue{key: "true"}}
		})
	}
}

func (h *hostile) cancelScheduled(ctx context.Context, _ *mathrand.Rand) {
	h.lands(cancelingKeys, h.keys(ctx, 20, func(k *v1alpha1.ApiKey) {
		k.Spec.Environment = v1alpha1.EnvironmentTest
		k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: "true"}
	}, nil))
}

func (h *hostile) shareSecret(ctx context.Context, _ *mathrand.Rand) {
	h.lands(sharingSecret, h.keys(ctx, 20, func(k *v1alpha1.ApiKey) { k.Spec.SecretName = "lmp-shared" }, func(*v1alpha1.ApiKey) {
		_ = pass(ctx, 200*time.Millisecond)
	}))
}

func (h *hostile) annotate(ctx context.Context, _ *mathrand.Rand) {
	h.lands(annotatingKeys, h.keys(ctx, 5, func(k *v1alpha1.ApiKey) {
		k.Annotations = map[string]string{"example.com/great": strings.Repeat("great ", 30<<10)}
	}, func(*v1alpha1.ApiKey) { _ = pass(ctx, time.Second) }))
}

// claimHashes brings keys of the neighbour by the hash that anybody with the role view can see, those that are revoked
// and those that are not. Neither may be accepted for the hostile tenant, nor become useless for its owner.
func (h *hostile) claimHashes(ctx context.Context, dice *mathrand.Rand) {
	s := h.victim.subjects[dice.IntN(len(h.victim.subjects))]
	h.lands(bringingKeys, h.keys(ctx, 1, func(k *v1alpha1.ApiKey) { k.Spec.SecretHash = s.Status.Hash }, func(*v1alpha1.ApiKey) {
		_ = pass(ctx, time.Second)
		sent := time.Now()
		status, body, err := get(ctx, h.live.url+"/v1/whoami", "Bearer "+s.plaintext)
		if err != nil {
			return
		}
		gone := s.gone.Load()
		switch {
		case status == http.StatusOK && !strings.Contains(body, s.Namespace):
			h.leak("a hash of somebody else", body)
		case status == http.StatusOK && gone > 0 && sent.UnixNano() > gone:
			h.leak("a revoked key, by its hash", body)
		case status == http.StatusUnauthorized && s.asked.Load() == 0:
			h.leak("a key that was made useless for its owner", body)
		}
	}))
}

func (h *hostile) leak(what, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaks[what] = text[:min(len(text), 500)]
}

func (h *hostile) readOthers(ctx context.Context, _ *mathrand.Rand) {
	secrets, keys := &corev1.SecretList{}, &v1alpha1.ApiKeyList{}
	if h.kube.List(ctx, secrets, client.InNamespace(h.victim.namespace)) == nil ||
		h.kube.List(ctx, keys, client.InNamespace(h.victim.subjects[0].Namespace)) == nil {
		h.leak("kubectl get", "another namespace can be listed")
	}
}
