// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What the other specs take for granted, so that a node that lacks it is not mistaken for a product that does.
var _ = Describe("The node", func() {
	It("is Ready at the address that is promised to tests", func(ctx SpecContext) {
		var nodes corev1.NodeList
		Expect(admin.List(ctx, &nodes)).To(Succeed())
		Expect(nodes.Items).To(HaveLen(1))
		Expect(nodes.Items[0].Status.Addresses).To(ContainElement(corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: nodeIP}))
		Expect(nodes.Items[0].Status.Conditions).To(ContainElement(And(
			HaveField("Type", corev1.NodeReady), HaveField("Status", corev1.ConditionTrue))))
	})

	It("gives pods a Secret as environment, and Services by name", func(ctx SpecContext) {
		ns := namespace(ctx, "node-services")
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "key"},
			StringData: map[string]string{"LMP_API_KEY": "the-key", "LMP_BASE_URL": "http://server." + ns + ".svc.cluster.local"},
		}
		Expect(admin.Create(ctx, secret)).To(Succeed())
		service := serve(ctx, ns)

		By("calling from another pod, with the key and without")
		counts := counts(complete(ctx, fromSecret(appPod(ns, "with-key", "call", "-calls=20", "-fresh"), "key")))
		Expect(counts).To(Equal(map[string]int{"200": 20}))
		complete(ctx, appPod(ns, "without-key", "call", "-calls=1", "-want=401", "-url=http://server/v1/whoami"))

		By("calling the Service's address from the node, where these tests run")
		Expect(status(ctx, "http://"+service.Spec.ClusterIP+"/")).To(Equal(http.StatusUnauthorized))

		By("asking for an eviction that the disruption budget does not allow, then for one that it does")
		var pods corev1.PodList
		Expect(admin.List(ctx, &pods, client.InNamespace(ns), client.MatchingLabels{"app": "server"})).To(Succeed())
		Expect(pods.Items).To(HaveLen(2))
		budget := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "server"},
			Spec: policyv1.PodDisruptionBudgetSpec{
				MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "server"}},
			},
		}
		Expect(admin.Create(ctx, budget)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(budget), budget)).To(Succeed())
			g.Expect(budget.Status.DisruptionsAllowed).To(BeEquivalentTo(1))
		}).WithContext(ctx).Should(Succeed())
		Expect(evict(ctx, pods.Items[0])).To(Succeed())
		Expect(apierrors.IsTooManyRequests(evict(ctx, pods.Items[1]))).To(BeTrue(), "a second eviction at once")
	})

	It("lets pods reach what a test listens on", func(ctx SpecContext) {
		ns := namespace(ctx, "node-address")
		listener, err := net.Listen("tcp", net.JoinHostPort(nodeIP, "0"))
		Expect(err).NotTo(HaveOccurred())
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
		}))
		server.Listener.Close()
		server.Listener = listener
		server.Start()
		defer server.Close()
		complete(ctx, appPod(ns, "caller", "call", "-calls=1", "-want=418", "-url="+server.URL))
	})

	DescribeTable("binds a claim to a volume that a pod's group may write", func(ctx SpecContext, mode corev1.PersistentVolumeAccessMode, name string) {
		ns := namespace(ctx, name)
		claim := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "data"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{mode},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}
		Expect(admin.Create(ctx, claim)).To(Succeed())
		const group = 3000
		pod := appPod(ns, "writer", "write", "/data/file")
		pod.Spec.SecurityContext.FSGroup = new(int64(group))
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name},
		}}}
		pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}

		var who struct {
			UID    int
			Groups []int
		}
		Expect(json.Unmarshal([]byte(complete(ctx, pod)), &who)).To(Succeed())
		Expect(who.UID).To(Equal(nobody))
		Expect(who.Groups).To(ContainElement(group))
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(claim), claim)).To(Succeed())
		Expect(claim.Status.Phase).To(Equal(corev1.ClaimBound))
	},
		Entry("of one node's", corev1.ReadWriteOnce, "node-volume-rwo"),
		Entry("of many nodes'", corev1.ReadWriteMany, "node-volume-rwx"),
	)

	It("refuses a privileged pod in a restricted namespace, and remembers who asked", func(ctx SpecContext) {
		ns := namespace(ctx, "node-restricted")
		pod := appPod(ns, "privileged", "serve")
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
		err := admin.Create(ctx, pod)
		Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
		Expect(err).To(MatchError(ContainSubstring("PodSecurity")))
		Eventually(func() (string, error) {
			content, err := os.ReadFile(filepath.Join(logs, "audit.log"))
			return string(content), err
		}).WithContext(ctx).Should(MatchRegexp(`"requestURI":"/api/v1/namespaces/` + ns + `/pods".*"username":"admin".*"code":403`))
	})
})

// serve runs two replicas of the app behind a Service "server", port 80, with the key of the Secret "key".
func serve(ctx SpecContext, ns string) *corev1.Service {
	GinkgoHelper()
	pod := fromSecret(appPod(ns, "server", "serve"), "key")
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1,
	}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "server"},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "server"},
		Spec:       corev1.ServiceSpec{Selector: pod.Labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}
	Expect(admin.Create(ctx, deployment)).To(Succeed())
	Expect(admin.Create(ctx, service)).To(Succeed())
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
		g.Expect(deployment.Status.AvailableReplicas).To(BeEquivalentTo(2))
	}).WithContext(ctx).Should(Succeed())
	// The Deployment is there before kube-proxy's rules are.
	Eventually(func() int { return status(ctx, "http://"+service.Spec.ClusterIP+"/") }).WithContext(ctx).ShouldNot(BeZero())
	return service
}

// status is the status of an answer, or 0 when there is none.
func status(ctx SpecContext, url string) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

// evict asks for an eviction, as `kubectl drain` does.
func evict(ctx SpecContext, pod corev1.Pod) error {
	return clients.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
	})
}
