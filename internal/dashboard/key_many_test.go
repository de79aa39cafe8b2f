// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
)

// happened is what a key's page shows of the events that happen makes, and earlierEvents, how many more there are;
// wrote, of who has written it.
var (
	earlierEvents = regexp.MustCompile(`(?s)<h2>Events</h2>.*<p>And ([0-9]+) earlier\.</p>.*<h2>Who`)

	happened = regexp.MustCompile(`happened ([0-9]+)`)
	wrote    = regexp.MustCompile(`<th scope="row">writer-([0-9]+)</th>`)
)

// happen makes events of a key, from one number to another. They have the names that client-go gives: the later one is
// the later name.
func (w *world) happen(t *testing.T, k *v1alpha1.ApiKey, from, to int) {
	t.Helper()
	begin := time.Now().Add(time.Hour).Truncate(time.Hour) // later than whatever the controller says of it
	var making sync.WaitGroup
	for worker := range 16 {
		making.Go(func() {
			for n := from + worker; n < to; n += 16 {
				at := metav1.NewTime(begin.Add(time.Duration(n) * time.Second))
				err := w.admin.Create(t.Context(), &corev1.Event{
					ObjectMeta:     metav1.ObjectMeta{Namespace: k.Namespace, Name: fmt.Sprintf("%s.%016x", k.Name, at.UnixNano())},
					InvolvedObject: corev1.ObjectReference{Kind: "ApiKey", Namespace: k.Namespace, Name: k.Name, UID: k.UID},
					Type:           corev1.EventTypeNormal, Reason: "Test", Message: fmt.Sprintf("happened %d", n),
					FirstTimestamp: at, LastTimestamp: at,
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	making.Wait()
}

// TestManyEvents: of what has happened to a key, and of who has written it, the latest is shown, and how much more
// there is.
func TestManyEvents(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	k := w.newKey(t, acme, "busy")
	w.pods(t, acme, "none") // which also makes the role of whoever may see events
	ada := w.signedIn(t, w.credential(t, acme, "ada", podViewer, "letmepost-apikey-viewer"), acme)
	shown := func(from, to int) {
		t.Helper()
		p := ada.get("/keys/busy")
		var got []string
		for _, found := range happened.FindAllStringSubmatch(p.body, -1) {
			got = append(got, found[1])
		}
		var want []string
		for n := to; n >= from; n-- {
			want = append(want, fmt.Sprint(n))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d: events %v are shown, want %d to %d", p.status, got, to, from)
		}
		// Those of the controller are among them, two or less.
		var earlier int
		if found := earlierEvents.FindStringSubmatch(p.body); found != nil {
			earlier, _ = strconv.Atoi(found[1])
		}
		if more := earlier - from; more < 0 || more > 2 || strings.Contains(p.body, "There are more events") {
			t.Errorf("before %d, there are said to be %d earlier ones\n%s", from, earlier, p.body)
		}
	}
	w.happen(t, k, 0, 60)
	shown(10, 59)
	w.happen(t, k, 60, 498) // with the controller's, as many as are looked at
	shown(448, 497)
	w.happen(t, k, 498, 510)
	if p := ada.get("/keys/busy"); !strings.Contains(p.body, "There are more events") {
		t.Errorf("of 510 events, the page does not say that it has not looked at all\n%s", p.body)
	}

	for n := range 25 {
		// Applied: of those who update, the apiserver remembers ten.
		patch := client.RawPatch(types.ApplyPatchType, fmt.Appendf(nil,
			`{"apiVersion": "letmepost.dev/v1alpha1", "kind": "ApiKey", "metadata": {"labels": {"n%d": "x"}}}`, n))
		check(t, w.admin.Patch(t.Context(), k, patch, client.FieldOwner(fmt.Sprintf("writer-%02d", n))))
	}
	p := ada.get("/keys/busy")
	var writers []string
	for _, found := range wrote.FindAllStringSubmatch(p.body, -1) {
		writers = append(writers, found[1])
	}
	more := regexp.MustCompile(`<p>And [0-9]+ earlier\.</p>\s*<details`)
	if slices.Sort(writers); len(writers) < 18 || slices.Max(writers) != "24" || !more.MatchString(p.body) {
		t.Errorf("%d: writers %v are shown\n%s", p.status, writers, p.body)
	}
}

// TestManyPending: of many keys that somebody may have lost, the newest are listed, and that there are more.
func TestManyPending(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	owner := w.owner(t, acme)
	var all []*v1alpha1.ApiKey
	for n := range 22 {
		k := &v1alpha1.ApiKey{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: acme, Name: fmt.Sprintf("lost-%02d", n),
				Labels: map[string]string{v1alpha1.LabelShownTo: dashboard.ShownTo("system:serviceaccount:" + acme + ":owner")},
			},
			Spec: v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: v1alpha1.Scopes[:1]},
		}
		if n > 19 { // the apiserver's times are to the second
			time.Sleep(time.Until(all[0].CreationTimestamp.Add(1100 * time.Millisecond)))
		}
		check(t, w.admin.Create(context.WithoutCancel(t.Context()), k))
		all = append(all, k)
	}
	p := owner.get("/keys/-/new")
	for _, name := range []string{"lost-20", "lost-21"} {
		if p.status != http.StatusOK || !strings.Contains(p.body, `/keys/`+name+`">`) {
			t.Errorf("%s is not listed", name)
		}
	}
	if !strings.Contains(p.body, "And 2 that were minted before") {
		t.Errorf("%s", cmp.Or(p.body, "nothing"))
	}
}
