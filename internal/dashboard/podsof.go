// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	corev1 "k8s.io/api/core/v1"
)

// podUse is a Pod that has a Secret in hand.
type podUse struct {
	// Phase is as Kubernetes has it. Owner is the kind and the name of the controller that has made the Pod; "": none
	// has.
	Name, Phase, Owner string
	Reads              []reading
}

// reading is one way in which a container has it. What is a variable, a path, or the name of a volume that no
// container mounts: then Container is "".
type reading struct {
	Text            string // key of a text, which says What and Container
	What, Container string
}

// usesOf returns how a Pod has the Secret; nil: it does not. It looks at what containers are given: what a Pod names
// for the kubelet or a driver alone, such as imagePullSecrets, is no use of a key.
func usesOf(p *corev1.Pod, secret string) (reads []reading) {
	mounted := map[string]bool{} // volumes that hold the Secret, and whether a container mounts them
	for i := range p.Spec.Volumes {
		if holds(&p.Spec.Volumes[i], secret) {
			mounted[p.Spec.Volumes[i].Name] = false
		}
	}
	for _, c := range containersOf(p) {
		reads = append(reads, environmentOf(c, secret)...)
		for _, m := range c.VolumeMounts {
			if _, ok := mounted[m.Name]; ok {
				mounted[m.Name] = true
				reads = append(reads, reading{"key.usedFiles", m.MountPath, c.Name})
			}
		}
	}
	for i := range p.Spec.Volumes { // in their order
		if name := p.Spec.Volumes[i].Name; holds(&p.Spec.Volumes[i], secret) && !mounted[name] {
			reads = append(reads, reading{Text: "key.usedVolume", What: name})
		}
	}
	return reads
}

// containersOf are all containers of a Pod: also those that run before the others, and that somebody debugs with.
func containersOf(p *corev1.Pod) (all []corev1.Container) {
	all = append(append(all, p.Spec.InitContainers...), p.Spec.Containers...)
	for _, c := range p.Spec.EphemeralContainers {
		all = append(all, corev1.Container(c.EphemeralContainerCommon))
	}
	return all
}

// environmentOf returns the variables that a container has from the Secret. By envFrom that is all of it, with a
// prefix: how the variables are called, only the Secret would say, which nobody reads here.
func environmentOf(c corev1.Container, secret string) (reads []reading) {
	for _, from := range c.EnvFrom {
		if from.SecretRef != nil && from.SecretRef.Name == secret {
			reads = append(reads, reading{"key.usedEnvFrom", from.Prefix + "*", c.Name})
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name == secret {
			reads = append(reads, reading{"key.usedEnv", e.Name, c.Name})
		}
	}
	return reads
}

// holds tells whether the files of a volume are those of the Secret, among others perhaps.
func holds(v *corev1.Volume, secret string) bool {
	if v.Secret != nil && v.Secret.SecretName == secret {
		return true
	}
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			if s.Secret != nil && s.Secret.Name == secret {
				return true
			}
		}
	}
	return false
}

// ownerOf is what has made a Pod, as people look for it. Of a Deployment's Pod that is the ReplicaSet: what stands
// above it would be one more request.
func ownerOf(p *corev1.Pod) string {
	for _, o := range p.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			return o.Kind + " " + o.Name
		}
	}
	return ""
}
