// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keysecret_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
)

var update = flag.Bool("update", false, "write testdata/*.golden.yaml anew")

// Keys from the vectors of package key. They open nothing.
const (
	liveKey = "lmp_live_0123456789ABCDEFGHIJKLMNOPQRSTUV4NOtR6"
	baseURL = "https://api.letmepost.example/v1"
)

func owner(mods ...func(*v1alpha1.ApiKey)) *v1alpha1.ApiKey {
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "acme", Name: "website", UID: "6a1f4f0e-0000-4000-8000-000000000001"},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive},
	}
	for _, mod := range mods {
		mod(k)
	}
	return k
}

func templated(k *v1alpha1.ApiKey) {
	k.Spec.SecretName = "website-credentials"
	k.Spec.SecretTemplate = &v1alpha1.SecretTemplate{
		Labels:      map[string]v1alpha1.LabelValue{"example.com/team": "growth", v1alpha1.LabelManagedBy: "somebody-else"},
		Annotations: map[string]v1alpha1.AnnotationValue{"example.com/contact": "growth@example.com"},
	}
}

func format(t testing.TB) key.Format {
	t.Helper()
	f, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEncodeGolden(t *testing.T) {
	for _, tc := range []struct {
		reason, golden string
		owner          *v1alpha1.ApiKey
	}{
		{"a key that asks for nothing", "plain", owner()},
		{"a key with a name and metadata for its Secret; managed-by is not the user's", "templated", owner(templated)},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got, err := yaml.Marshal(keysecret.Encode(tc.owner, liveKey, baseURL))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", tc.golden+".golden.yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the Secret is a contract with what is stored in clusters already (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDecodeGolden reads what is checked in, and so in clusters, rather than what today's Encode writes.
func TestDecodeGolden(t *testing.T) {
	for golden, o := range map[string]*v1alpha1.ApiKey{"plain": owner(), "templated": owner(templated)} {
		file, err := os.ReadFile(filepath.Join("testdata", golden+".golden.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var s corev1.Secret
		if err := yaml.UnmarshalStrict(file, &s); err != nil {
			t.Fatal(err)
		}
		if got, err := keysecret.Decode(o, &s, format(t)); err != nil || got != liveKey {
			t.Errorf("%s: Decode = %q, %v; want %q", golden, got, err, liveKey)
		}
	}
}

func TestDecodeUndoesEncode(t *testing.T) {
	random := rand32(20260801)
	for _, word := range []string{"lmp", "acmepublishing16"} {
		f, err := key.NewFormat(word)
		if err != nil {
			t.Fatal(err)
		}
		for _, env := range []key.Environment{key.Live, key.Test} {
			for _, mod := range []func(*v1alpha1.ApiKey){func(*v1alpha1.ApiKey) {}, templated} {
				o := owner(mod)
				o.Spec.Environment = v1alpha1.Environment(env)
				want, err := f.Mint(random, env)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := keysecret.Decode(o, keysecret.Encode(o, want, baseURL), f); err != nil || got != want {
					t.Errorf("Decode(Encode(%s)) = %q, %v", want, got, err)
				}
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	yes, no := true, false
	ref := func(change func(*metav1.OwnerReference)) func(*corev1.Secret) {
		return func(s *corev1.Secret) { change(&s.OwnerReferences[0]) }
	}
	data := func(entry, value string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data[entry] = []byte(value) }
	}
	const testKey = "lmp_test_0123456789ABCDEFGHIJKLMNOPQRSTUV"
	for _, tc := range []struct {
		reason string
		change func(*corev1.Secret)
		want   error
	}{
		{"nobody's", func(s *corev1.Secret) { s.OwnerReferences = nil }, keysecret.ErrNotOwned},
		{"owned but not controlled", ref(func(r *metav1.OwnerReference) { r.Controller = &no }), keysecret.ErrNotOwned},
		{"owned, with nothing said of control", ref(func(r *metav1.OwnerReference) { r.Controller = nil }), keysecret.ErrNotOwned},
		{"another kind's", ref(func(r *metav1.OwnerReference) { r.Kind = "Profile" }), keysecret.ErrNotOwned},
		{"another group's", ref(func(r *metav1.OwnerReference) { r.APIVersion = "letmepost.example/v1alpha1" }), keysecret.ErrNotOwned},
		{"another ApiKey's", ref(func(r *metav1.OwnerReference) { r.Name, r.UID = "shop", "other" }), keysecret.ErrNotOwned},
		{"another name under our UID, which nobody writes", ref(func(r *metav1.OwnerReference) { r.Name = "shop" }), keysecret.ErrNotOwned},
		{
			"controlled by another, and owned by us besides",
			func(s *corev1.Secret) {
				ours := s.OwnerReferences[0]
				ours.Controller = &no
				s.OwnerReferences = []metav1.OwnerReference{ours, {APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x", Controller: &yes}}
			},
			keysecret.ErrNotOwned,
		},
		{"our name, but of an ApiKey that is gone", ref(func(r *metav1.OwnerReference) { r.UID = "previous" }), keysecret.ErrPreviousOwner},
		{"no UID at all", ref(func(r *metav1.OwnerReference) { r.UID = "" }), keysecret.ErrPreviousOwner},

		{"mutable by default: anybody with update could have changed it", func(s *corev1.Secret) { s.Immutable = nil }, keysecret.ErrMalformed},
		{"mutable", func(s *corev1.Secret) { s.Immutable = &no }, keysecret.ErrMalformed},
		{"another type", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, keysecret.ErrMalformed},
		{"no type", func(s *corev1.Secret) { s.Type = "" }, keysecret.ErrMalformed},
		{"no data", func(s *corev1.Secret) { s.Data = nil }, keysecret.ErrMalformed},
		{"no key", func(s *corev1.Secret) { delete(s.Data, v1alpha1.SecretKeyAPIKey) }, keysecret.ErrMalformed},
		{"a key under another entry", func(s *corev1.Secret) { s.Data = map[string][]byte{"key": []byte(liveKey)} }, keysecret.ErrMalformed},
		{"an empty key", data(v1alpha1.SecretKeyAPIKey, ""), keysecret.ErrMalformed},
		{"a key with a line feed, as echo writes it", data(v1alpha1.SecretKeyAPIKey, liveKey+"\n"), keysecret.ErrMalformed},
		{"a key with one character changed", data(v1alpha1.SecretKeyAPIKey, strings.Replace(liveKey, "G", "g", 1)), keysecret.ErrMalformed},
		{"a key of another word", data(v1alpha1.SecretKeyAPIKey, mint(t, "acme", key.Live)), keysecret.ErrMalformed},
		{"a key of the other environment", data(v1alpha1.SecretKeyAPIKey, mint(t, "lmp", key.Test)), keysecret.ErrMalformed},
		{"not a key: the test prefix", data(v1alpha1.SecretKeyAPIKey, testKey), keysecret.ErrMalformed},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			o := owner()
			s := keysecret.Encode(o, liveKey, baseURL)
			tc.change(s)
			got, err := keysecret.Decode(o, s, format(t))
			if got != "" || !errors.Is(err, tc.want) {
				t.Fatalf("Decode = %q, %v; want no key and %v", got, err, tc.want)
			}
			for _, other := range []error{keysecret.ErrNotOwned, keysecret.ErrPreviousOwner, keysecret.ErrMalformed} {
				if !errors.Is(tc.want, other) && errors.Is(err, other) {
					t.Errorf("the error is %v as well: %v", other, err)
				}
			}
			noKeyMaterial(t, err.Error(), liveKey, string(s.Data[v1alpha1.SecretKeyAPIKey]))
		})
	}
}

// noKeyMaterial refuses any eight characters of a body in text: prefixes are the same for all keys and give nothing
// away.
func noKeyMaterial(t *testing.T, text string, keys ...string) {
	t.Helper()
	for _, k := range keys {
		for i := len("lmp_live_"); i+8 <= len(k); i++ {
			if strings.Contains(text, k[i:i+8]) {
				t.Errorf("the error shows %q of the key: %s", k[i:i+8], text)
			}
		}
	}
}

func TestEncodeLeavesItsOwnerAlone(t *testing.T) {
	o := owner(templated)
	before := o.DeepCopy()
	s := keysecret.Encode(o, liveKey, baseURL)
	s.Labels["a"], s.Annotations["a"] = "b", "b"
	if diff := cmp.Diff(before, o); diff != "" {
		t.Errorf("Encode, or a change of what it returned, changed the ApiKey (-before +after):\n%s", diff)
	}
}
