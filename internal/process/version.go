// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package process holds what the controller and the API are alike in, as processes: their memory, their version, their
// host, the namespaces that they are about, and whom they trust.
package process

import (
	"fmt"
	"runtime"
)

// version is that of the image. hack/image sets it, with the linker's -X: neither a constant nor a value that is worked
// out could be set so. "devel" is whatever else was built.
var version = "devel"

// VersionLine is what --version of a program prints. The Go version and the platform are in it for whoever reports a
// bug.
func VersionLine(program string) string {
	return fmt.Sprintf("letmepost %s %s (%s, %s/%s)\n", program, version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
