// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	neturl "net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
	"github.com/letmepost/letmepost-operator/internal/leak"
	"github.com/letmepost/letmepost-operator/test/kube"
)

const (
	controllerAccount = "letmepost-controller"
	apiAccount        = "letmepost-api-live" // the test API's has the same permissions, and Leases of its own
	gateAccount       = "letmepost-gate"
	releaseAccount    = "letmepost-release"
	vaultAccount      = "letmepost-vault"
)

// started counts the processes, so that each has a log of its own.
var started atomic.Int64

// asForOldServers has client-go list, and then watch, as it does where an apiserver can't stream a list (before
// Kubernetes 1.34, or with the feature WatchList off). Otherwise nobody lists, and the permission would seem to be one
// too many.
const asForOldServers = "KUBE_FEATURE_WatchListClient=false"

// start starts a program of ours with the credentials of a ServiceAccount. It ends with the spec, at the latest.
// asForOldServers may stand among its arguments.
func start(ctx context.Context, program, serviceAccount string, args ...string) *kube.Process {
	GinkgoHelper()
	name := fmt.Sprintf("%s-%d", program, started.Add(1))
	credentials := filepath.Join(serverDir, name+".kubeconfig")
	Expect(server.ServiceAccountKubeconfig(ctx, systemNamespace, serviceAccount, credentials)).To(Succeed())
	command := kube.Command{
		Name: name, Path: kube.Path("bin/" + program), Env: kube.MinimalEnv(), Log: filepath.Join(serverDir, name+".log"),
	}
	if i := slices.Index(args, asForOldServers); i >= 0 {
		command.Env = append(command.Env, asForOldServers)
		args = slices.Delete(slices.Clone(args), i, i+1)
	}
	command.Args = append(args, "--kubeconfig", credentials)
	p, err := kube.Run(command)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() {
		if CurrentSpecReport().Failed() {
			AddReportEntry(name, p.Tail(20))
		}
		p.Kill()
		<-p.Done()
	})
	return p
}

// startController starts a controller and waits until its cache is filled: it leads, or stands by.
func startController(ctx context.Context, args ...string) *kube.Process {
	GinkgoHelper()
	ports, err := kube.FreePorts(2)
	Expect(err).NotTo(HaveOccurred())
	p := start(ctx, "controller", controllerAccount, append([]string{
		"--namespace", systemNamespace, "--secret-recheck-interval", "1s",
		"--metrics-bind-address", kube.Address(ports[0]), "--health-probe-bind-address", kube.Address(ports[1]),
	}, args...)...)
	Expect(kube.WaitReady(ctx, http.DefaultClient, "http://"+kube.Address(ports[1])+"/readyz", p)).To(Succeed())
	return p
}

// startAPI starts a live API, waits until it is ready, and returns its URL.
func startAPI(ctx context.Context, args ...string) (*kube.Process, string) {
	GinkgoHelper()
	ports, err := kube.FreePorts(2)
	Expect(err).NotTo(HaveOccurred())
	url := "http://" + kube.Address(ports[0])
	p := start(ctx, "api", apiAccount, append([]string{
		"--environment", "live", "--namespace", systemNamespace, "--data-dir", filepath.Join(serverDir, "data"),
		"--listen-address", kube.Address(ports[0]), "--metrics-bind-address", kube.Address(ports[1]),
	}, args...)...)
	Expect(kube.WaitReady(ctx, http.DefaultClient, url+"/readyz", p)).To(Succeed())
	return p, url
}

// exercise has the processes do all that they do, for an organization. Only the sweep after crashes, which takes a
// minute, it leaves to the caller, who awaits it with swept.
func exercise(ctx context.Context, org string, args ...string) {
	GinkgoHelper()
	By("electing a leader, and another one")
	Expect(client.IgnoreNotFound(admin.Delete(ctx, lease(leaderLease)))).To(Succeed())
	Expect(client.IgnoreNotFound(admin.Delete(ctx, crashedReplica()))).To(Succeed())
	Expect(admin.Create(ctx, crashedReplica())).To(Succeed())
	first := startController(ctx, append(args, asForOldServers)...)
	Eventually(ctx, holder).ShouldNot(BeEmpty())
	leader, err := holder(ctx)
	Expect(err).NotTo(HaveOccurred())
	second := startController(ctx, args...)
	Expect(first.Stop(ctx)).To(Succeed())
	Eventually(ctx, holder).ShouldNot(Or(BeEmpty(), Equal(leader)))
	old, _ := startAPI(ctx, append(args, asForOldServers)...)
	Expect(old.Stop(ctx)).To(Succeed())
	api, url := startAPI(ctx, args...)

	By("minting, and looking after the Secret")
	profile := &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: org, Name: aProfile}}
	Expect(admin.Create(ctx, profile)).To(Succeed())
	pinned, expiring, lost := live(org, "pinned"), live(org, "expiring"), live(org, "lost")
	pinned.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: aProfile}
	expiring.Spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(30 * time.Second)}
	for _, k := range []*v1alpha1.ApiKey{expiring, pinned, lost} { // first of all, what is to be seen before it has expired
		Expect(admin.Create(ctx, k)).To(Succeed())
		await(ctx, k, v1alpha1.ConditionReady, v1alpha1.ReasonActive)
	}
	Eventually(ctx, whoami).WithArguments(url, plaintext(ctx, pinned)).Should(Equal(http.StatusOK))
	Expect(admin.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: org, Name: lost.Name}})).To(Succeed())
	await(ctx, lost, v1alpha1.ConditionSecretAvailable, v1alpha1.ReasonSecretDeleted)

	By("adopting what was minted before a crash")
	adopt(ctx, org, second, args...)

	By("withdrawing keys whose Profile is gone, and keys that have expired")
	Expect(admin.Delete(ctx, profile)).To(Succeed())
	await(ctx, pinned, v1alpha1.ConditionReady, v1alpha1.ReasonProfileNotFound)
	await(ctx, expiring, v1alpha1.ConditionReady, v1alpha1.ReasonExpired)

	By("revoking, and waiting for a replica that is late")
	secret := plaintext(ctx, pinned)
	Expect(api.Signal(syscall.SIGSTOP)).To(Succeed())
	Expect(admin.Delete(ctx, pinned)).To(Succeed())
	Eventually(ctx, awaited).Should(BeTrue())
	Expect(api.Signal(syscall.SIGCONT)).To(Succeed())
	Eventually(ctx, gone).WithArguments(pinned).Should(BeTrue())
	Eventually(ctx, whoami).WithArguments(url, secret).Should(Equal(http.StatusUnauthorized))

	By("being told of a key that has leaked")
	leaked := live(org, "adopted")
	secret = plaintext(ctx, leaked)
	answer, err := http.PostForm(url+leak.Path, neturl.Values{"token": {secret}})
	Expect(err).NotTo(HaveOccurred())
	Expect(answer.Body.Close()).To(Succeed())
	Expect(answer.StatusCode).To(Equal(http.StatusOK))
	Expect(whoami(ctx, url, secret)).To(Equal(http.StatusUnauthorized))
	Eventually(ctx, gone).WithArguments(leaked).Should(BeTrue())
	Expect(admin.Delete(ctx, &v1alpha1.LeakedKey{ObjectMeta: metav1.ObjectMeta{
		Namespace: systemNamespace, Name: key.DigestOf(secret).Hex(),
	}})).To(Succeed())
	Expect(api.Stop(ctx)).To(Succeed())
}

// swept waits until the Lease of crashedReplica is gone.
func swept(ctx context.Context) {
	GinkgoHelper()
	Eventually(ctx, gone).WithArguments(lease(crashedReplica().Name)).WithTimeout(3 * time.Minute).Should(BeTrue())
}

// adopt has a controller find what a crash leaves behind: a Secret with a key, and no hash in status. The controller
// that runs is ended, and another one is started for good.
func adopt(ctx context.Context, org string, running *kube.Process, args ...string) {
	GinkgoHelper()
	Expect(running.Stop(ctx)).To(Succeed())
	k := live(org, "adopted")
	Expect(admin.Create(ctx, k)).To(Succeed())
	format, err := key.NewFormat(key.DefaultWord)
	Expect(err).NotTo(HaveOccurred())
	minted, err := format.Mint(rand.Reader, key.Live)
	Expect(err).NotTo(HaveOccurred())
	Expect(admin.Create(ctx, keysecret.Encode(k, minted, "https://api.letmepost.dev"))).To(Succeed())
	startController(ctx, args...)
	await(ctx, k, v1alpha1.ConditionReady, v1alpha1.ReasonActive)
	bound := key.DigestOf(minted).BoundTo(key.OwnerID(k.Status.OrganizationID))
	Expect(k.Status.Hash).To(Equal(bound.String()))
}

func live(namespace, name string) *v1alpha1.ApiKey {
	return apiKey(namespace, name, v1alpha1.EnvironmentLive)
}

func lease(name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name}}
}

// crashedReplica is the Lease that an API process leaves behind when it crashes.
func crashedReplica() *coordinationv1.Lease {
	l, seconds := lease("letmepost-api-live-crashed"), int32(1)
	l.Labels = map[string]string{v1alpha1.LabelReplica: "live", v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &l.Name, LeaseDurationSeconds: &seconds, RenewTime: &metav1.MicroTime{Time: time.Now()}}
	return l
}

// holder is who leads, "" if nobody does.
func holder(ctx context.Context) (string, error) {
	l := lease(leaderLease)
	if err := admin.Get(ctx, client.ObjectKeyFromObject(l), l); err != nil || l.Spec.HolderIdentity == nil {
		return "", client.IgnoreNotFound(err)
	}
	return *l.Spec.HolderIdentity, nil
}

// awaited tells whether a replica has been told that it is.
func awaited(ctx context.Context) (bool, error) {
	var leases coordinationv1.LeaseList
	err := admin.List(ctx, &leases, client.InNamespace(systemNamespace))
	for _, l := range leases.Items {
		if l.Annotations[v1alpha1.AnnotationAwaited] != "" {
			return true, nil
		}
	}
	return false, err
}

func gone(ctx context.Context, o client.Object) bool {
	return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(o), o))
}

// await waits until a condition of a key has a reason.
func await(ctx context.Context, k *v1alpha1.ApiKey, condition, reason string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(k), k)).To(Succeed())
		g.Expect(meta.FindStatusCondition(k.Status.Conditions, condition)).To(HaveField("Reason", reason))
	}).Should(Succeed(), "%s of %s", condition, k.Name)
}

func plaintext(ctx context.Context, k *v1alpha1.ApiKey) string {
	GinkgoHelper()
	secret := &corev1.Secret{}
	Expect(admin.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: k.SecretName()}, secret)).To(Succeed())
	return string(secret.Data[v1alpha1.SecretKeyAPIKey])
}

func whoami(ctx context.Context, url, secret string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/whoami", http.NoBody)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", strings.TrimSpace("Bearer "+secret))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	return response.StatusCode, nil
}
