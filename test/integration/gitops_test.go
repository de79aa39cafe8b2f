// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	stdcmp "cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// gitOps is a tool that brings manifests into the cluster, under the name that it has in managedFields.
type gitOps string

const (
	argoCD gitOps = "argocd-controller"
	flux   gitOps = "kustomize-controller"
)

// apply applies a manifest, server-side and by force, as both tools do.
func (tool gitOps) apply(ctx context.Context, manifest *unstructured.Unstructured) error {
	_, err := tool.send(ctx, manifest)
	return err
}

func (tool gitOps) send(
	ctx context.Context, manifest *unstructured.Unstructured, more ...client.ApplyOption,
) (*unstructured.Unstructured, error) {
	o := manifest.DeepCopy()
	err := admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), append(more, client.FieldOwner(tool), client.ForceOwnership)...)
	return o, err
}

// drift is how what is in the cluster differs from what it would be if the manifest were applied again.
func (tool gitOps) drift(ctx SpecContext, manifest *unstructured.Unstructured) string {
	GinkgoHelper()
	live := read(ctx, manifest)
	wanted, err := tool.send(ctx, manifest, client.DryRunAll)
	Expect(err).NotTo(HaveOccurred())
	for _, o := range []*unstructured.Unstructured{live, wanted} {
		o.SetManagedFields(nil)
	}
	return cmp.Diff(live.Object, wanted.Object)
}

// manifest is an object as it would be in Git.
func manifest(ctx SpecContext, o client.Object) *unstructured.Unstructured {
	GinkgoHelper()
	gvk, err := admin.GroupVersionKindFor(o)
	Expect(err).NotTo(HaveOccurred())
	content, err := json.Marshal(o)
	Expect(err).NotTo(HaveOccurred())
	u := &unstructured.Unstructured{}
	Expect(json.Unmarshal(content, &u.Object)).To(Succeed())
	u.SetGroupVersionKind(gvk)
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return u
}

// kubectl runs kubectl as an administrator, and returns what it prints, with the error of its exit code.
func kubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	if cmd.Err != nil { // none was installed: ours
		cmd = exec.CommandContext(ctx, kube.Path("bin/k8s/kubectl"), args...)
	}
	cmd.Env = append(kube.MinimalEnv(), "KUBECONFIG="+cluster.KubeconfigPath())
	cmd.Stdin = strings.NewReader(input)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// render renders a kustomization of docs/examples/gitops.
func render(ctx SpecContext, path string) []*unstructured.Unstructured {
	GinkgoHelper()
	output, err := kubectl(ctx, "", "kustomize", kube.Path(filepath.Join("docs/examples/gitops", path)))
	Expect(err).NotTo(HaveOccurred(), output)
	file := filepath.Join(GinkgoT().TempDir(), "rendered.yaml")
	Expect(os.WriteFile(file, []byte(output), 0o600)).To(Succeed())
	objects, err := kube.LoadManifests(file)
	Expect(err).NotTo(HaveOccurred())
	Expect(objects).NotTo(BeEmpty())
	return objects
}

// waves sorts objects as Argo CD does: the waves in their order.
func waves(objects []*unstructured.Unstructured) [][]*unstructured.Unstructured {
	GinkgoHelper()
	byWave := map[int][]*unstructured.Unstructured{}
	var order []int
	for _, o := range objects {
		n, err := strconv.Atoi(stdcmp.Or(o.GetAnnotations()["argocd.argoproj.io/sync-wave"], "0"))
		Expect(err).NotTo(HaveOccurred())
		if byWave[n] == nil {
			order = append(order, n)
		}
		byWave[n] = append(byWave[n], o)
	}
	slices.Sort(order)
	var sorted [][]*unstructured.Unstructured
	for _, n := range order {
		sorted = append(sorted, byWave[n])
	}
	return sorted
}

// sync applies wave after wave, and waits after each until what is ours is healthy in it.
func (tool gitOps) sync(ctx SpecContext, objects []*unstructured.Unstructured) {
	GinkgoHelper()
	for _, wave := range waves(objects) {
		for _, o := range wave {
			Expect(tool.apply(ctx, o)).To(Succeed(), "%s %s", o.GetKind(), o.GetName())
		}
		for _, o := range wave {
			if !strings.HasPrefix(o.GetAPIVersion(), v1alpha1.GroupVersion.Group) {
				continue
			}
			Eventually(ctx, func() (string, error) {
				status, _, err := argoHealth(ctx, read(ctx, o).Object)
				return status, err
			}, patience, interval).Should(Equal(healthy), "%s %s", o.GetKind(), o.GetName())
		}
	}
}

// removeNamespace lets what a spec has made in a namespace of a fixed name go, while the controller still runs.
func removeNamespace(name string) {
	DeferCleanup(func(ctx SpecContext) {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		Expect(client.IgnoreNotFound(admin.Delete(ctx, ns))).To(Succeed())
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(ns), ns))
		}, patience, interval).Should(BeTrue())
	}, NodeTimeout(2*patience))
}

var _ = Describe("GitOps: applying", func() {
	It("over and over finds no drift and writes nothing, and the controller owns status and finalizer alone", func(ctx SpecContext) {
		startController(ctx)
		namespace := newNamespace(ctx)
		brand := profile(namespace, "brand")
		brand.Spec.DisplayName = "Brand"
		plain, pinned := manifest(ctx, apiKey(namespace, "plain")), manifest(ctx, pinnedKey(namespace, "pinned", "brand"))
		all := []*unstructured.Unstructured{manifest(ctx, brand), plain, pinned}
		for _, tool := range []gitOps{argoCD, flux} {
			tool.sync(ctx, all)
			Expect(tool.apply(ctx, pinned)).To(Succeed())
			// The Profile counts its keys, which is a write of its own.
			Eventually(ctx, func() (int64, error) {
				keys, _, err := unstructured.NestedInt64(read(ctx, all[0]).Object, "status", "keys")
				return keys, err
			}, patience, interval).Should(Equal(int64(1)))
			for _, m := range all {
				before := read(ctx, m)
				for range 3 {
					Expect(tool.drift(ctx, m)).To(BeEmpty(), "%s, by %s", m.GetName(), tool)
					Expect(tool.apply(ctx, m)).To(Succeed())
				}
				Expect(read(ctx, m).GetResourceVersion()).To(Equal(before.GetResourceVersion()), "%s applies %s, and that is a write", tool, m.GetName())
			}
		}
		for _, m := range all {
			Expect(ownedByController(ctx, m)).To(Equal(map[string][]string{"status": {"f:status"}}), m.GetName())
		}
	}, SpecTimeout(2*patience))

	It("with kubectl, client-side, shows no difference afterwards", func(ctx SpecContext) {
		startController(ctx)
		k := apiKey(newNamespace(ctx), "by-hand")
		content, err := yaml.Marshal(manifest(ctx, k).Object)
		Expect(err).NotTo(HaveOccurred())
		for range 2 {
			output, err := kubectl(ctx, string(content), "apply", "-f", "-")
			Expect(err).NotTo(HaveOccurred(), output)
			awaitReason(ctx, k, v1alpha1.ReasonActive)
			output, err = kubectl(ctx, string(content), "diff", "-f", "-")
			Expect(err).NotTo(HaveOccurred(), output)
			Expect(output).To(BeEmpty())
		}
		output, err := kubectl(ctx, string(content), "apply", "-f", "-")
		Expect(err).NotTo(HaveOccurred())
		Expect(output).To(ContainSubstring("unchanged"))
	}, SpecTimeout(2*patience))

	It("a changed spec is refused, before it is tried, and changes nothing", func(ctx SpecContext) {
		startController(ctx)
		k := apiKey(newNamespace(ctx), "fixed")
		m := manifest(ctx, k)
		argoCD.sync(ctx, []*unstructured.Unstructured{m})
		before := read(ctx, m)
		Expect(unstructured.SetNestedField(m.Object, "test", "spec", "environment")).To(Succeed())
		for _, more := range [][]client.ApplyOption{{client.DryRunAll}, nil} {
			_, err := argoCD.send(ctx, m, more...)
			Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%v", err)
			Expect(err).To(MatchError(ContainSubstring("spec is immutable")))
		}
		Expect(read(ctx, m)).To(Equal(before))
	}, SpecTimeout(2*patience))
})

// ownedByController is what the controller owns of an object: fields, by subresource. "" is the object itself; there
// the finalizers are as they should be and are left out.
func ownedByController(ctx SpecContext, o client.Object) map[string][]string {
	GinkgoHelper()
	owned := map[string][]string{}
	for _, entry := range read(ctx, o).GetManagedFields() {
		if entry.Manager != controllerAccount {
			continue
		}
		var fields map[string]any
		Expect(json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields)).To(Succeed())
		for name, of := range fields {
			if meta, ok := of.(map[string]any); ok && name == "f:metadata" && len(meta) == 1 && meta["f:finalizers"] != nil {
				continue
			}
			owned[entry.Subresource] = append(owned[entry.Subresource], name)
		}
	}
	return owned
}

var _ = Describe("GitOps: pruning and applying again", func() {
	for _, propagation := range []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationBackground} {
		It(fmt.Sprintf("mints a new key and revives none, with %s deletion", propagation), func(ctx SpecContext) {
			startController(ctx)
			api := startAPI(ctx, "live")
			k := apiKey(newNamespace(ctx), "website")
			m := manifest(ctx, k)
			var plaintexts, hashes, hints []string
			for range 3 {
				Expect(argoCD.apply(ctx, m)).To(Succeed())
				plaintexts = append(plaintexts, minted(ctx, k))
				hashes, hints = append(hashes, k.Status.Hash), append(hints, k.Status.Hint)
				Eventually(ctx, api.whoami(ctx, plaintexts[len(plaintexts)-1]), patience, interval).Should(Equal(http.StatusOK))
				for _, old := range plaintexts[:len(plaintexts)-1] {
					Expect(decided(ctx, api.whoami(ctx, old))).To(Equal(http.StatusUnauthorized))
				}
				Expect(admin.Delete(ctx, k, client.PropagationPolicy(propagation))).To(Succeed())
				Eventually(ctx, exists, patience, interval).WithArguments(k).Should(BeFalse())
				Expect(api.whoami(ctx, plaintexts[len(plaintexts)-1])()).To(Equal(http.StatusUnauthorized), "when it is gone")
				// At once: the garbage collector may not have come to the old Secret yet.
			}
			for _, all := range [][]string{plaintexts, hashes, hints} {
				Expect(slices.Compact(slices.Sorted(slices.Values(all)))).To(HaveLen(3), "three different ones")
			}
		}, SpecTimeout(3*patience))
	}
})
