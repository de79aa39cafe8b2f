// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

const (
	schedules = 100
	// sideBySide keeps two cores busy while processes wait for the apiserver.
	sideBySide = 6
)

// points are where ./crashing can be killed.
var points = []string{"before-create", "after-create", "before-status", "after-status"}

// A crash is where a life of the controller ends: at which call of which point.
type crash struct {
	point string
	call  int
}

// A schedule is what happens in one namespace: these keys are created, the controller crashes these times, and then it
// is left alone.
type schedule struct {
	keys        []*v1alpha1.ApiKey
	crashes     []crash
	concurrency int
}

func (s schedule) String() string {
	return fmt.Sprintf("%d keys, %d reconciled at once, crashes %v", len(s.keys), s.concurrency, s.crashes)
}

// draw makes a schedule. The first crash is at a call that must come: each key takes one of each point at least.
func draw(dice *rand.Rand) schedule {
	s := schedule{concurrency: 1 + dice.IntN(4)}
	for i := range 2 + dice.IntN(4) {
		s.keys = append(s.keys, drawKey(dice, i))
	}
	s.crashes = []crash{{points[dice.IntN(len(points))], 1 + dice.IntN(len(s.keys))}}
	for range dice.IntN(3) {
		s.crashes = append(s.crashes, crash{points[dice.IntN(len(points))], 1 + dice.IntN(2)})
	}
	return s
}

// drawKey makes a key for the live or the test API, with or without the fields that shape its Secret.
func drawKey(dice *rand.Rand, i int) *v1alpha1.ApiKey {
	k := apiKey("", fmt.Sprintf("key-%d", i))
	k.Spec.Environment = []v1alpha1.Environment{v1alpha1.EnvironmentLive, v1alpha1.EnvironmentTest}[dice.IntN(2)]
	if dice.IntN(3) == 0 {
		k.Spec.SecretName = fmt.Sprintf("secret-of-%d", i)
	}
	if dice.IntN(3) == 0 {
		k.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Labels: map[string]v1alpha1.LabelValue{"team": "rockets"}}
	}
	if dice.IntN(3) == 0 {
		k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: profileName}
	}
	return k
}

const profileName = "rockets"

var _ = Describe("A controller that crashes", func() {
	It("mints every key once, wherever it is killed", func(ctx SpecContext) {
		live, test := startAPI(ctx, "live"), startAPI(ctx, "test")
		audit := startAudit(ctx)
		deaths := &tally{count: map[string]int{}}

		group, life := errgroup.WithContext(ctx) // the first schedule that goes wrong ends the others
		group.SetLimit(sideBySide)
		for i := range schedules {
			group.Go(func() error {
				s := draw(random(i))
				namespace, err := s.run(life, audit, deaths)
				if err == nil {
					err = verify(life, audit, namespace, len(s.keys), live, test)
				}
				if err != nil {
					return fmt.Errorf("schedule %d (%s): %w", i, s, err)
				}
				return nil
			})
		}
		Expect(group.Wait()).To(Succeed())

		AddReportEntry("crashes by point", deaths.count, ReportEntryVisibilityFailureOrVerbose)
		for _, point := range points {
			Expect(deaths.count[point]).To(BeNumerically(">=", schedules/10), "crashes at the point %s", point)
		}
	}, SpecTimeout(8*patience))
})

// tally counts the crashes that did happen. A schedule without one would prove nothing.
type tally struct {
	mu    sync.Mutex
	count map[string]int
}

func (t *tally) add(point string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count[point]++
}

// run goes through the schedule in a namespace of its own, and returns when all keys are ready.
func (s schedule) run(ctx context.Context, audit *audit, deaths *tally) (string, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "crash-"}}
	if err := admin.Create(ctx, ns); err != nil {
		return "", err
	}
	profile := &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: profileName}}
	if err := admin.Create(ctx, profile); err != nil {
		return "", err
	}
	for _, k := range s.keys {
		k.Namespace = ns.Name
		if err := admin.Create(ctx, k); err != nil {
			return "", err
		}
	}
	for i, crash := range s.crashes {
		// The first crash must come. After it, there may be too few calls left for the next.
		died, err := s.live(ctx, audit, ns.Name, i == 0, "--point", crash.point, "--call", strconv.Itoa(crash.call))
		if err != nil {
			return "", err
		}
		if died {
			deaths.add(crash.point)
		}
	}
	died, err := s.live(ctx, audit, ns.Name, false)
	if died {
		err = errors.New("the controller died with no crash in its schedule")
	}
	return ns.Name, err
}

// live is one life of the controller: until it dies or, if it need not, all keys are ready.
func (s schedule) live(
	ctx context.Context, audit *audit, namespace string, mustDie bool, fault ...string,
) (died bool, err error) {
	process, err := start(crasher, controllerAccount, append([]string{
		"--namespace", namespace, "--concurrency", strconv.Itoa(s.concurrency),
	}, fault...)...)
	if err != nil {
		return false, err
	}
	defer process.end()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the keys do not become ready, or the crash does not come"))
	defer cancel()
	err = audit.await(ctx, process.Done(), func() bool { return !mustDie && audit.ready(namespace, len(s.keys)) })
	switch {
	case !errors.Is(err, errInterrupted):
		return false, explain(process, err)
	case process.exitSignal() != syscall.SIGKILL:
		return false, explain(process, fmt.Errorf("it was to be killed, but: %w", process.Err()))
	default:
		return true, nil
	}
}

// explain adds the end of a process's log to what went wrong with it.
func explain(p process, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w; the end of the log of %s:\n%s", err, p.Name(), p.Tail(10))
}

// verify holds the audit against what the APIs say.
func verify(ctx context.Context, audit *audit, namespace string, want int, apis ...*server) error {
	plaintexts, wrong := audit.minted(namespace)
	if len(plaintexts) != want && len(wrong) == 0 {
		wrong = append(wrong, fmt.Errorf("%d keys were minted, not %d", len(plaintexts), want))
	}
	for _, plaintext := range plaintexts {
		for _, api := range apis {
			if err := api.knows(ctx, plaintext); err != nil {
				wrong = append(wrong, err)
			}
		}
	}
	return errors.Join(wrong...)
}

// knows waits until the API accepts a key of its own environment: its watch may be a moment behind ours. A key of the
// other environment must be refused.
func (s *server) knows(ctx context.Context, plaintext string) error {
	want := http.StatusUnauthorized
	if strings.HasPrefix(plaintext, "lmp_"+s.environment+"_") {
		want = http.StatusOK
	}
	var got int
	err := wait.PollUntilContextTimeout(ctx, interval, patience, true, func(ctx context.Context) (bool, error) {
		var err error
		got, err = s.whoami(ctx, plaintext)()
		return got == want, err
	})
	if err != nil {
		return fmt.Errorf("the %s API answers %d, not %d, to the key in a Secret: %w", s.environment, got, want, err)
	}
	return nil
}
