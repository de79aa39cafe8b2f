// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
)

// version is that of the image (hack/image sets it, with the linker's -X).
var version = "devel"

// versionLine is what --version prints.
func versionLine() string {
	return fmt.Sprintf("letmepost api %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
