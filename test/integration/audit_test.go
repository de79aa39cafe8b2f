// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// audit has seen every change of every ApiKey and Secret since it began: what it has not seen has not happened.
type audit struct {
	mu      sync.Mutex
	keys    map[types.UID]*keyHistory
	secrets map[client.ObjectKey]*secretHistory
	failed  error
	changed chan struct{} // closed, and replaced, at every change
}

type keyHistory struct {
	last   *v1alpha1.ApiKey
	hashes []string // every value that status.hash has had, in order, without repetitions
}

type secretHistory struct {
	last   *corev1.Secret
	events []watch.EventType
}

// startAudit begins with what is there. It ends with the spec.
func startAudit(ctx SpecContext) *audit {
	GinkgoHelper()
	a := &audit{
		keys:    map[types.UID]*keyHistory{},
		secrets: map[client.ObjectKey]*secretHistory{},
		changed: make(chan struct{}),
	}
	// Not the spec's own context: that is still used when its cleanups run.
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	var watching sync.WaitGroup
	for _, list := range []client.ObjectList{&v1alpha1.ApiKeyList{}, &corev1.SecretList{}} {
		Expect(admin.List(ctx, list)).To(Succeed())
		from := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}
		w, err := admin.Watch(life, list, from)
		Expect(err).NotTo(HaveOccurred())
		watching.Go(func() { a.follow(life, w) })
	}
	DeferCleanup(func() {
		stop()
		watching.Wait()
	})
	return a
}

func (a *audit) follow(life context.Context, w watch.Interface) {
	defer w.Stop()
	for event := range w.ResultChan() {
		a.record(event)
	}
	if life.Err() == nil {
		a.record(watch.Event{Type: watch.Error, Object: &metav1.Status{Message: "the watch broke off"}})
	}
}

func (a *audit) record(event watch.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o := event.Object.(type) {
	case *v1alpha1.ApiKey:
		history := a.keys[o.UID]
		if history == nil {
			history = &keyHistory{}
			a.keys[o.UID] = history
		}
		history.last = o
		if hash := o.Status.Hash; len(history.hashes) == 0 || hash != history.hashes[len(history.hashes)-1] {
			history.hashes = append(history.hashes, hash)
		}
	case *corev1.Secret:
		name := client.ObjectKeyFromObject(o)
		history := a.secrets[name]
		if history == nil {
			history = &secretHistory{}
			a.secrets[name] = history
		}
		history.last = o
		history.events = append(history.events, event.Type)
	default:
		a.failed = errors.Join(a.failed, fmt.Errorf("audit: %s %v", event.Type, event.Object))
	}
	close(a.changed)
	a.changed = make(chan struct{})
}

// await returns when done is true, which is asked again at each change; or with an error when ctx ends or interrupted
// is closed.
func (a *audit) await(ctx context.Context, interrupted <-chan struct{}, done func() bool) error {
	for {
		a.mu.Lock()
		ok, failed, changed := done(), a.failed, a.changed
		a.mu.Unlock()
		if failed != nil || ok {
			return failed
		}
		select {
		case <-changed:
		case <-interrupted:
			return errInterrupted
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

var errInterrupted = errors.New("interrupted")

// ready tells whether so many keys of a namespace are served, as far as the controller knows; mu must be held. That of
// a key and that of its Secret are told by two watches, of which either may be late: a key counts when both have come.
func (a *audit) ready(namespace string, want int) bool {
	n := 0
	for _, history := range a.keys {
		k := history.last
		if k.Namespace == namespace && history.ready() && a.secrets[client.ObjectKey{Namespace: namespace, Name: k.SecretName()}] != nil {
			n++
		}
	}
	return n == want
}

// keyReady tells whether there is a key of that name that is served; mu must be held.
func (a *audit) keyReady(namespace, name string) bool {
	for _, history := range a.keys {
		if history.last.Namespace == namespace && history.last.Name == name && history.ready() {
			return true
		}
	}
	return false
}

func (h *keyHistory) ready() bool {
	return meta.IsStatusConditionTrue(h.last.Status.Conditions, v1alpha1.ConditionReady)
}

// minted returns the plaintexts of a namespace's keys, each of which was minted exactly once, and says of all others
// what is wrong with them.
func (a *audit) minted(namespace string) (plaintexts []string, wrong []error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		wrong = append(wrong, a.failed)
	}
	used := 0
	for _, history := range a.keys {
		k := history.last
		if k.Namespace != namespace {
			continue
		}
		secret := a.secrets[client.ObjectKey{Namespace: namespace, Name: k.SecretName()}]
		if err := mintedOnce(history, secret); err != nil {
			wrong = append(wrong, fmt.Errorf("ApiKey %s/%s: %w", namespace, k.Name, err))
			continue
		}
		used++
		plaintexts = append(plaintexts, string(secret.last.Data[v1alpha1.SecretKeyAPIKey]))
	}
	made := 0
	for name := range a.secrets {
		if name.Namespace == namespace {
			made++
		}
	}
	if made != used {
		wrong = append(wrong, fmt.Errorf("%d Secrets were created in %s for %d keys", made, namespace, used))
	}
	return plaintexts, wrong
}

// mintedOnce says what is wrong with a key's history.
func mintedOnce(history *keyHistory, secret *secretHistory) error {
	k := history.last
	hashes := slices.DeleteFunc(slices.Clone(history.hashes), func(hash string) bool { return hash == "" })
	switch {
	case secret == nil:
		return errors.New("it has no Secret")
	case !slices.Equal(secret.events, []watch.EventType{watch.Added}):
		return fmt.Errorf("its Secret was not created once and left alone: %v", secret.events)
	case len(hashes) != 1 || history.hashes[len(history.hashes)-1] == "":
		return fmt.Errorf("its hash was not written once: %q", history.hashes)
	}
	if owner := metav1.GetControllerOf(secret.last); owner == nil || owner.UID != k.UID {
		return fmt.Errorf("its Secret is controlled by %v", owner)
	}
	// Not by package key: what a hash is, is said again here.
	digest := sha256.Sum256(secret.last.Data[v1alpha1.SecretKeyAPIKey])
	binding := sha256.Sum256(append(digest[16:], "id:"+k.Status.OrganizationID...))
	if want := fmt.Sprintf("bound:%x:%x", digest[:16], binding[:16]); k.Status.Hash != want {
		return fmt.Errorf("its hash is %s, and that of the key in its Secret %s", k.Status.Hash, want)
	}
	return nil
}
