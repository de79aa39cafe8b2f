// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package process holds what the controller and the API are alike in, as processes: their memory, their version, the
// namespaces that they are about, and whom they trust.
package process

import (
	"fmt"
	"runtime"
)

// version is that of the image (hack/image sets it, with the linker's -X).
var version = "devel"

// VersionLine is what --version of a program prints.
func VersionLine(program string) string {
	return fmt.Sprintf("letmepost %s %s (%s, %s/%s)\n", program, version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
