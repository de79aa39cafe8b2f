// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/controller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// recheck is how often the controller under test looks for each minted Secret.
const recheck = 300 * time.Millisecond

var (
	format, formatErr = key.NewFormat(key.DefaultWord)
	baseURLs          = map[v1alpha1.Environment]string{
		v1alpha1.EnvironmentLive: "https://live.example.com",
		v1alpha1.EnvironmentTest: "https://test.example.com",
	}
)

// ahead is the controller's clock: the real one, and as far ahead of it as a spec has moved it.
type ahead struct{ clock.RealClock }

var aheadBy atomic.Int64 // nanoseconds

func (c ahead) Now() time.Time { return c.RealClock.Now().Add(time.Duration(aheadBy.Load())) }

func (c ahead) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// operator is a life of the controller: from a start of its manager to the end of it.
type operator struct {
	wire   *wire
	began  int // the point of the transcript
	cache  client.Reader
	cancel context.CancelFunc
	ended  chan error
}

func startOperator(mods ...func(*controller.Options)) *operator {
	GinkgoHelper()
	Expect(formatErr).NotTo(HaveOccurred())
	o := &operator{wire: &wire{}, began: said.now(), ended: make(chan error, 1)}
	cfg := rest.CopyConfig(credentials)
	cfg.Wrap(o.wire.wrap)
	options := controller.Options{
		Format: format, BaseURLs: baseURLs,
		Random: rand.Reader, Clock: ahead{},
		Concurrency: 8, SecretRecheckInterval: recheck, Namespace: "letmepost-system",
	}
	for _, mod := range mods {
		mod(&options)
	}
	skip := true // names of controllers are unique in a process, and this one has many lives
	mgr, err := controller.NewManager(cfg, manager.Options{
		Logger:                 said.logger(),
		Metrics:                server.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
		Controller:             config.Controller{SkipNameValidation: &skip},
	}, options)
	Expect(err).NotTo(HaveOccurred())
	o.cache = mgr.GetCache()

	ctx, cancel := context.WithCancel(context.Background()) // it outlives the spec that starts it
	o.cancel = cancel
	go func() { o.ended <- mgr.Start(ctx) }()
	Expect(mgr.GetCache().WaitForCacheSync(ctx)).To(BeTrue())
	return o
}

// stop ends a life in good order.
func (o *operator) stop() {
	GinkgoHelper()
	o.cancel()
	Eventually(o.ended).Should(Receive(Not(HaveOccurred())))
	o.wire.audit()
	books.collect(o.wire)
}

// restart begins another life, with nothing remembered.
func restart(mods ...func(*controller.Options)) {
	GinkgoHelper()
	op.stop()
	op = startOperator(mods...)
}

// transcript is what was logged. It must never hold a key, and whoever reads it wants to know what was reconciled.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) logger() logr.Logger {
	return funcr.New(func(prefix, args string) {
		t.mu.Lock()
		defer t.mu.Unlock()
		line := prefix + " " + args + "\n"
		t.text.WriteString(line)
		_, _ = GinkgoWriter.Write([]byte(line))
	}, funcr.Options{Verbosity: 5}) // 5: each reconcile, but not yet the bodies of requests
}

// now is the point of the transcript at which it ends for now.
func (t *transcript) now() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Len()
}

func (t *transcript) since(point int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text.Bytes()[point:])
}

// lines returns the lines since a point that contain all words.
func (t *transcript) lines(since int, words ...string) []string {
	var found []string
next:
	for line := range strings.Lines(t.since(since)) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// awaitReconciled waits until k has been reconciled at least once since a point of the transcript.
func awaitReconciled(ctx context.Context, k *v1alpha1.ApiKey, since int) {
	GinkgoHelper()
	Eventually(ctx, func() []string {
		return said.lines(since, `"controller"="apikey"`, `"namespace"="`+k.Namespace+`"`, `"name"="`+k.Name+`"`, `"msg"="Reconcile `)
	}).ShouldNot(BeEmpty())
}
