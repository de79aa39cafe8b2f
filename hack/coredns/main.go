// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// coredns answers for the names of Services, and for nothing else: CoreDNS with the five plugins that this takes.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// A directive that is not in this list is unknown, and their order here is the order in which they see a question.
	dnsserver.Directives = []string{"bind", "ready", "errors", "log", "kubernetes"}
	coremain.Run()
}
