// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import "os"

// Hostname names the machine that this process runs on, for people: in a pod it is the pod's name, by which kubectl
// finds it. It is used in nothing that has to be unique, so a machine without a name is no reason not to start.
func Hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown host"
	}
	return name
}
