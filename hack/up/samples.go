package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// samplesBound is how long the samples may take to become ready; those that do not are told, and are no reason to
// stop: a person may have come to look at just that.
const samplesBound = 20 * time.Second

// resources of the samples whose readiness is waited for, by kind.
var resources = map[string]schema.GroupVersionResource{
	"ApiKey":  {Group: "letmepost.dev", Version: "v1alpha1", Resource: "apikeys"},
	"Profile": {Group: "letmepost.dev", Version: "v1alpha1", Resource: "profiles"},
}

func (s *session) loadSamples(ctx context.Context) error {
	samples := kube.Path("config/samples")
	// People come second: they are in the samples' namespaces.
	for _, path := range []string{samples, kube.Path("hack/up/people.yaml")} {
		if err := kube.InstallManifests(ctx, s.cluster.AdminConfig(), path); err != nil {
			return err
		}
	}
	objects, err := kube.LoadManifests(samples)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(s.cluster.AdminConfig())
	if err != nil {
		return fmt.Errorf("wait for the samples: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, samplesBound)
	defer cancel()
	ready := 0
	var late []string
	for _, object := range objects {
		resource, ours := resources[object.GetKind()]
		if !ours {
			continue
		}
		err := s.waitReady(waiting, client.Resource(resource).Namespace(object.GetNamespace()), object.GetName())
		if err == nil {
			ready++
			continue
		}
		late = append(late, fmt.Sprintf("    %s %s/%s is not ready: %v",
			object.GetKind(), object.GetNamespace(), object.GetName(), err))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	fmt.Fprintf(s.out, "    %d ready\n", ready)
	if len(late) > 0 {
		fmt.Fprintln(s.out, strings.Join(late, "\n"))
	}
	return nil
}

// waitReady waits until an object's Ready condition is True for its present generation. The error says what the
// condition says instead. With ctx ended, it looks once.
func (s *session) waitReady(ctx context.Context, resource dynamic.ResourceInterface, name string) error {
	for {
		// The look itself gets its own time, so that the last one can still tell the reason.
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		object, err := resource.Get(look, name, metav1.GetOptions{})
		cancel()
		if err == nil {
			err = notReady(object)
		}
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func notReady(object *unstructured.Unstructured) error {
	switch status, explanation := kube.Condition(object, "Ready"); status {
	case "True":
		return nil
	default:
		return errors.New(explanation)
	}
}

// demoKey picks the sample that the tour uses: the first live key with a minted Secret of its own.
func demoKey(objects []*unstructured.Unstructured) (namespace, name, secret string) {
	for _, object := range objects {
		environment, _, _ := unstructured.NestedString(object.Object, "spec", "environment")
		hash, _, _ := unstructured.NestedString(object.Object, "spec", "secretHash")
		if object.GetKind() != "ApiKey" || environment != "live" || hash != "" {
			continue
		}
		secret, _, _ := unstructured.NestedString(object.Object, "spec", "secretName")
		if secret == "" {
			secret = object.GetName()
		}
		return object.GetNamespace(), object.GetName(), secret
	}
	return "", "", ""
}
