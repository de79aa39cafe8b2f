// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command mintkey makes a key outside the cluster, for spec.secretHash: the key on standard output, its hash on
// standard error, so that the one can go into a file that nobody reads while the other is copied into a manifest.
//
//	go run ./hack/mintkey -environment test -namespace acme > my-key
package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/letmepost/letmepost-operator/internal/key"
)

func main() {
	environment := flag.String("environment", string(key.Test), "live or test")
	word := flag.String("key-prefix", key.DefaultWord,
		"`word` that the key begins with, as the controller's flag of that name")
	namespace := flag.String("namespace", "", "the `namespace` that the key is for: in any other, its hash opens nothing")
	flag.Parse()
	if err := run(*word, key.Environment(*environment), *namespace); err != nil {
		fmt.Fprintln(os.Stderr, "mintkey:", err)
		os.Exit(1)
	}
}

func run(word string, environment key.Environment, namespace string) error {
	if namespace == "" {
		return errors.New("-namespace: want the name of the ApiKey's namespace, which the hash is bound to")
	}
	if environment != key.Live && environment != key.Test {
		return fmt.Errorf("-environment %s: want live or test", environment)
	}
	format, err := key.NewFormat(word)
	if err != nil {
		return err
	}
	k, err := format.Mint(rand.Reader, environment)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "secretHash:", key.DigestOf(k).BoundTo(key.OwnerNamespace(namespace)))
	_, err = fmt.Println(k)
	return err
}
