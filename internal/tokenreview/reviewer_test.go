// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tokenreview_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	testclock "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/tokenreview"
	"github.com/letmepost/letmepost-operator/test/kube"
)

func TestMain(m *testing.M) { kube.Main(m, kube.Options{}) }

// world is an apiserver, and a Reviewer that asks it.
type world struct {
	*testing.T
	*tokenreview.Reviewer
	cluster *kube.Cluster
	admin   kubernetes.Interface
	clock   *testclock.FakePassiveClock
	expires time.Time                     // of the last token
	asked   atomic.Int64                  // requests of the Reviewer
	away    atomic.Bool                   // they are not answered
	held    atomic.Pointer[chan struct{}] // they are answered when it is closed
}

var errAway = errors.New("the apiserver is away")

// counted sees every request of a Reviewer.
type counted func(*http.Request) (*http.Response, error)

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, cluster: kube.Shared(t), clock: testclock.NewFakePassiveClock(time.Now())}
	var err error
	w.admin, err = kubernetes.NewForConfig(w.cluster.AdminConfig())
	w.check(err)
	w.Reviewer = w.reviewer()
	return w
}

// reviewer is one that remembers nothing yet.
func (w *world) reviewer() *tokenreview.Reviewer {
	w.Helper()
	config := rest.CopyConfig(w.cluster.AdminConfig())
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return counted(func(r *http.Request) (*http.Response, error) {
			w.asked.Add(1)
			if w.away.Load() {
				return nil, errAway
			}
			if held := w.held.Load(); held != nil {
				<-*held
			}
			return next.RoundTrip(r)
		})
	})
	made, err := tokenreview.New(tokenreview.Options{Config: config, Audience: tokenreview.Audience, Clock: w.clock})
	w.check(err)
	return made
}

func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// token is one of a ServiceAccount, which is made if need be.
func (w *world) token(namespace, name string, audiences ...string) string {
	w.Helper()
	accounts := w.admin.CoreV1().ServiceAccounts(namespace)
	if _, err := accounts.Get(w.Context(), name, metav1.GetOptions{}); err != nil {
		_, err := accounts.Create(w.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		w.check(err)
	}
	made, err := accounts.CreateToken(w.Context(), name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: new(int64(600))},
	}, metav1.CreateOptions{})
	w.check(err)
	w.expires = made.Status.ExpirationTimestamp.Time
	return made.Status.Token
}

// refusedAs sees that a token is refused, and whether the apiserver was asked for it.
func (w *world) refusedAs(reason, token string, asking int64) {
	w.Helper()
	before := w.asked.Load()
	if a, err := w.Review(w.Context(), token); !errors.Is(err, tokenreview.ErrUnauthenticated) {
		w.Errorf("%s: %v, %v", reason, a, err)
	}
	if asked := w.asked.Load() - before; asked != asking {
		w.Errorf("%s: the apiserver was asked %d times, want %d", reason, asked, asking)
	}
}

func TestReview(t *testing.T) {
	w := newWorld(t)
	namespace := w.cluster.Namespace(t)
	good := w.token(namespace, "service", tokenreview.Audience)
	account, err := w.Review(t.Context(), good)
	w.check(err)
	if account.Namespace != namespace || account.Username != "system:serviceaccount:"+namespace+":service" {
		t.Errorf("it is %+v", account)
	}
	_, err = w.Review(t.Context(), w.token(namespace, "service", "another", tokenreview.Audience))
	w.check(err) // one audience of two

	w.refusedAs("of the apiserver's audience", w.token(namespace, "service"), 0)
	w.refusedAs("of another's audience", w.token(namespace, "service", "another"), 0)
	w.refusedAs("none", "", 0)
	w.refusedAs("no token", "nonsense", 0)
	w.refusedAs("no JSON", "a.!!.b", 0)
	w.refusedAs("longer than any", strings.Repeat("x", 9000)+good, 0)
	w.refusedAs("somebody's who signs nothing", unsigned(namespace, tokenreview.Audience, w.clock.Now().Add(time.Hour)), 1)
	w.refusedAs("the same once more", unsigned(namespace, tokenreview.Audience, w.clock.Now().Add(time.Hour)), 0)
	header, _, _ := strings.Cut(good, ".")
	signature := good[strings.LastIndex(good, "."):]
	w.refusedAs("another's claims with its signature",
		header+"."+strings.Split(unsigned("kube-system", tokenreview.Audience, w.clock.Now().Add(time.Hour)), ".")[1]+signature, 1)
	w.refusedAs("expired, as it says", unsigned(namespace, tokenreview.Audience, w.clock.Now().Add(-time.Second)), 0)
}

// unsigned is a token that says all that a good one says, and is nobody's.
func unsigned(namespace, audience string, expires time.Time) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode(fmt.Appendf(nil,
		`{"sub":"system:serviceaccount:%s:service","aud":%q,"exp":%d}`, namespace, audience, expires.Unix())) + ".c2ln"
}

// TestRemembers: an answer is gone by for a minute, not past the token's end, and an error of the apiserver is none.
func TestRemembers(t *testing.T) {
	w := newWorld(t)
	namespace := w.cluster.Namespace(t)
	good := w.token(namespace, "service", tokenreview.Audience)
	expires := w.expires
	for range 3 {
		_, err := w.Review(t.Context(), good)
		w.check(err)
	}
	if n := w.asked.Load(); n != 1 {
		t.Errorf("the apiserver was asked %d times for one token", n)
	}
	w.away.Store(true)
	_, err := w.Review(t.Context(), good)
	w.check(err)
	fresh := w.token(namespace, "service", tokenreview.Audience, "another")
	if _, err := w.Review(t.Context(), fresh); err == nil || errors.Is(err, tokenreview.ErrUnauthenticated) {
		t.Errorf("with the apiserver away, another token is %v", err)
	}
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	if _, err := w.Review(t.Context(), good); err == nil || errors.Is(err, tokenreview.ErrUnauthenticated) {
		t.Errorf("after a minute: %v", err)
	}
	w.away.Store(false)
	_, err = w.Review(t.Context(), good)
	w.check(err)
	w.clock.SetTime(expires.Add(-time.Second))
	_, err = w.Review(t.Context(), good)
	w.check(err)
	w.clock.SetTime(expires)
	w.refusedAs("expired", good, 0)
}

// TestWithdrawn: an account that is gone is gone here when its answer is forgotten.
func TestWithdrawn(t *testing.T) {
	w := newWorld(t)
	namespace := w.cluster.Namespace(t)
	good := w.token(namespace, "service", tokenreview.Audience)
	_, err := w.Review(t.Context(), good)
	w.check(err)
	w.check(w.admin.CoreV1().ServiceAccounts(namespace).Delete(t.Context(), "service", metav1.DeleteOptions{}))
	// The apiserver itself may remember a token, or an account, for some seconds.
	eventually(t, func() bool {
		_, err := w.reviewer().Review(t.Context(), good)
		return errors.Is(err, tokenreview.ErrUnauthenticated)
	})
	_, err = w.Review(t.Context(), good)
	w.check(err) // not a minute has passed
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	w.refusedAs("withdrawn a minute ago", good, 1)
}

// TestOnce: many who ask at once are one question.
func TestOnce(t *testing.T) {
	w := newWorld(t)
	good := w.token(w.cluster.Namespace(t), "service", tokenreview.Audience)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := w.Review(t.Context(), good); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.asked.Load(); n != 1 {
		t.Errorf("fifty at once were %d questions", n)
	}
	fresh := w.token(w.cluster.Namespace(t), "service", tokenreview.Audience)
	gone, end := context.WithCancel(t.Context())
	end()
	held := make(chan struct{}) // an answer could come before anybody looks whether they have gone
	defer close(held)
	w.held.Store(&held)
	if _, err := w.Review(gone, fresh); !errors.Is(err, context.Canceled) {
		t.Errorf("who has gone is told %v", err)
	}
}

func TestMay(t *testing.T) {
	w := newWorld(t)
	home, acme, globex := w.cluster.Namespace(t), w.cluster.Namespace(t), w.cluster.Namespace(t)
	account, err := w.Review(t.Context(), w.token(home, "service", tokenreview.Audience))
	w.check(err)
	in := func(namespace string) tokenreview.Right {
		return tokenreview.Right{Verb: "create", Resource: "introspections", Namespace: namespace}
	}
	may := func(right tokenreview.Right) bool {
		t.Helper()
		allowed, err := w.May(t.Context(), account, right)
		w.check(err)
		return allowed
	}
	if may(in("")) || may(in(acme)) || may(in(globex)) || may(in(home)) {
		t.Fatal("it may what nobody has allowed")
	}
	_, err = w.admin.RbacV1().Roles(acme).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "introspector"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"letmepost.dev"}, Resources: []string{"introspections"}, Verbs: []string{"create"}}},
	}, metav1.CreateOptions{})
	w.check(err)
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "introspector"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "introspector"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: home, Name: "service"}},
	}
	_, err = w.admin.RbacV1().RoleBindings(acme).Create(t.Context(), binding, metav1.CreateOptions{})
	w.check(err)
	later := func(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }
	eventually(t, func() bool { later(5 * time.Second); return may(in(acme)) }) // the authorizer follows by a watch
	if may(in("")) || may(in(globex)) || may(tokenreview.Right{Verb: "delete", Resource: "introspections", Namespace: acme}) {
		t.Error("a right in one namespace is one elsewhere")
	}
	w.away.Store(true)
	if !may(in(acme)) {
		t.Error("what was allowed a moment ago is forgotten")
	}
	later(30 * time.Second)
	if allowed, err := w.May(t.Context(), account, in(acme)); allowed || err == nil {
		t.Errorf("with the apiserver away, it may: %v, %v", allowed, err)
	}
	w.away.Store(false)
	w.check(w.admin.RbacV1().RoleBindings(acme).Delete(t.Context(), "introspector", metav1.DeleteOptions{}))
	eventually(t, func() bool { later(30 * time.Second); return !may(in(acme)) })
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in a minute")
		}
	}
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	if _, err := tokenreview.New(tokenreview.Options{}); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("got %v", err)
	}
}
