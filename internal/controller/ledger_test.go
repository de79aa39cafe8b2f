// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// ledger follows every Secret and every ApiKey through the whole run, and knows what must hold whatever a spec was
// about:
//
//   - an ApiKey is minted once: no second key is ever put into a Secret of its, and status never has a second hash;
//   - the hash in status is that of the key in the Secret;
//   - no two ApiKeys of an organization are Ready with one hash;
//   - a key is in its Secret, and nowhere else.
type ledger struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu       sync.Mutex
	minted   map[types.UID]string // owner to key
	hashes   map[types.UID]string // of status
	owners   map[types.UID]string // organization ids, of status
	ready    map[string]types.UID // namespace and hash to the ApiKey that is Ready with it
	except   map[string]bool      // hashes that a spec has forced upon two ApiKeys
	keys     map[string]bool      // every key ever sent by a controller
	problems []string
}

func openLedger(ctx context.Context) *ledger {
	GinkgoHelper()
	l := &ledger{
		minted: map[types.UID]string{}, hashes: map[types.UID]string{}, owners: map[types.UID]string{}, ready: map[string]types.UID{},
		except: map[string]bool{}, keys: map[string]bool{},
	}
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	secrets, err := admin.Watch(ctx, &corev1.SecretList{}, client.MatchingFields{"type": string(v1alpha1.SecretType)})
	Expect(err).NotTo(HaveOccurred())
	keys, err := admin.Watch(ctx, &v1alpha1.ApiKeyList{})
	Expect(err).NotTo(HaveOccurred())
	for _, w := range []watch.Interface{secrets, keys} {
		l.wait.Go(func() {
			for event := range w.ResultChan() {
				if ctx.Err() == nil {
					l.enter(event)
				}
			}
			if ctx.Err() == nil {
				l.complain("a watch of the ledger ended early")
			}
		})
	}
	return l
}

func (l *ledger) complain(text string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, fmt.Sprintf(text, args...))
}

// tolerate lets a spec force a hash upon two ApiKeys.
func (l *ledger) tolerate(hash string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.except[hash] = true
}

func (l *ledger) enter(event watch.Event) {
	switch o := event.Object.(type) {
	case *corev1.Secret:
		if event.Type != watch.Deleted {
			l.enterSecret(o)
		}
	case *v1alpha1.ApiKey:
		l.enterKey(o, event.Type == watch.Deleted)
	default:
		l.complain("a watch of the ledger failed: %v", event.Object)
	}
}

func (l *ledger) enterSecret(s *corev1.Secret) {
	owner, plaintext := metav1.GetControllerOf(s), string(s.Data[v1alpha1.SecretKeyAPIKey])
	if _, err := format.Parse(plaintext); err != nil || owner == nil || s.Immutable == nil || !*s.Immutable {
		return // a spec's own
	}
	l.mu.Lock()
	before, again := l.minted[owner.UID]
	l.minted[owner.UID] = plaintext
	l.mu.Unlock()
	if again && before != plaintext {
		l.complain("%s/%s was minted twice", s.Namespace, s.Name)
	}
}

func (l *ledger) enterKey(k *v1alpha1.ApiKey, gone bool) {
	if k.Status.Hash == "" {
		return
	}
	ready := readyCondition(k)
	serves := !gone && ready != nil && ready.Status == metav1.ConditionTrue
	l.mu.Lock()
	before, again := l.hashes[k.UID]
	l.hashes[k.UID], l.owners[k.UID] = k.Status.Hash, k.Status.OrganizationID
	place := k.Namespace + "/" + k.Status.Hash
	other := l.ready[place]
	excepted := l.except[k.Status.Hash]
	switch {
	case serves:
		l.ready[place] = k.UID
	case other == k.UID:
		delete(l.ready, place)
	}
	l.mu.Unlock()
	if again && before != k.Status.Hash {
		l.complain("%s/%s was given a second hash", k.Namespace, k.Name)
	}
	if serves && other != "" && other != k.UID && !excepted {
		l.complain("%s/%s is Ready with the hash of another ApiKey that is", k.Namespace, k.Name)
	}
}

// close ends the books and says what is wrong in them.
func (l *ledger) close(ctx context.Context) {
	GinkgoHelper()
	l.cancel()
	l.wait.Wait()
	for uid, plaintext := range l.minted {
		if hash, ok := l.hashes[uid]; ok && hash != key.DigestOf(plaintext).BoundTo(key.OwnerID(l.owners[uid])).String() {
			l.complain("the hash of ApiKey %s is not that of the key in its Secret", uid)
		}
	}
	Expect(said.lines(0, "Observed a panic")).To(BeEmpty())
	l.hunt("the log", said.since(0))
	l.hunt("events", everything(ctx, &eventsv1.EventList{}))
	l.hunt("ApiKeys", everything(ctx, &v1alpha1.ApiKeyList{}))
	l.hunt("Profiles", everything(ctx, &v1alpha1.ProfileList{}))
	Expect(l.problems).To(BeEmpty())
}

func everything(ctx context.Context, list client.ObjectList) string {
	GinkgoHelper()
	Expect(admin.List(ctx, list)).To(Succeed())
	text, err := json.Marshal(list)
	Expect(err).NotTo(HaveOccurred())
	return string(text)
}

// hunt looks for keys, also for halves of them, in clear and in base64.
func (l *ledger) hunt(where, text string) {
	GinkgoHelper()
	Expect(text).NotTo(BeEmpty())
	for k := range maps.Keys(l.keys) {
		body := k[len("lmp_live_"):]
		encoded := base64.RawStdEncoding.EncodeToString([]byte(k))
		for _, part := range []string{body[:16], body[16:32], encoded[12:36], encoded[36:60]} {
			if strings.Contains(text, part) {
				l.complain("%s: found a key, or a part of one", where)
			}
		}
	}
}

// collect takes over what went through the wire of a life that has ended.
func (l *ledger) collect(w *wire) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(l.keys, w.keys)
}
