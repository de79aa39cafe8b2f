// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keyring

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// Flags are those of every process that has a Keyring, with the same names, defaults and errors. Nothing below reads a
// variable of the environment: $KUBECONFIG is given by whoever makes Options of them.
type Flags struct {
	Kubeconfig    string // "": see ClusterConfig
	Namespace     string // of the release
	LeaseDuration time.Duration
	Format        key.Format // set by Check
	Watched       []string   // set by Check; none: all namespaces
	Most          int        // set by Check; keys of one organization that are held; 0: any number

	word, watched, most string // as they were given
}

// Bounds of --lease-duration.
const (
	minLease = 3 * time.Second // a shorter one would not survive one slow answer of the apiserver
	maxLease = time.Minute     // as long as that, deletions wait for a process that has crashed
)

// Add adds the flags to a program's.
func (f *Flags) Add(flags *pflag.FlagSet) {
	flags.StringVar(&f.Kubeconfig, "kubeconfig", "",
		"Kubeconfig file of the cluster. "+
			"Default: the files in $KUBECONFIG; without it, the cluster that the process runs in.")
	// A key with another prefix is refused before it is looked up.
	flags.StringVar(&f.word, "key-prefix", key.DefaultWord,
		"First part of every key: 1 to 16 letters and digits. It must be the controller's.")
	// Its own and not that of the keys: RBAC lets this process write in one namespace only.
	flags.StringVar(&f.Namespace, "namespace", "",
		"Namespace of the release, where this process has its Lease. "+
			"Default: the pod's own; outside a pod, "+process.DefaultNamespace+".")
	// It is what a crash costs (a deletion waits that long) against what an absence of the apiserver may last.
	flags.DurationVar(&f.LeaseDuration, "lease-duration", revocation.DefaultLeaseDuration,
		"How long a deletion waits for this process when it has crashed, in whole seconds from 3s to 60s. "+
			"When it can't renew its Lease for two thirds of that, it answers 503 until it can.")
	// Were they others than the controller's, keys would be minted and never served, or deletions never confirmed.
	flags.StringVar(&f.watched, "watch-namespaces", "",
		"Namespaces whose keys are served, separated by commas; the controller must have the same. Default: all.")
	flags.StringVar(&f.most, "max-organization-keys", strconv.Itoa(lifecycle.DefaultKeyQuota),
		"Keys of one organization, of both environments, that are served: a number, or none. It must be the controller's. "+
			fmt.Sprintf("%d more are served, as two controllers may overlap; beyond that, those that were minted first.",
				lifecycle.KeySlack))
}

// Check takes in the flags that are more than a text. The error names the flag, and is for the one who called the
// program.
func (f *Flags) Check() (err error) {
	if f.Format, err = key.NewFormat(f.word); err != nil {
		return fmt.Errorf("--key-prefix: %w", err)
	}
	if f.Namespace == "" {
		f.Namespace = process.Namespace()
	}
	if f.Watched, err = process.ParseNamespaces(f.watched); err != nil {
		return fmt.Errorf("--watch-namespaces: %w", err)
	}
	most, err := process.ParseQuota(f.most)
	if err == nil && most > math.MaxInt32 {
		err = errors.New("that is more than there is memory for")
	}
	if err != nil {
		return fmt.Errorf("--max-organization-keys: %w", err)
	}
	if f.Most = int(most); most > 0 {
		f.Most += lifecycle.KeySlack
	}
	// A Lease holds whole seconds (spec.leaseDurationSeconds): a part of one would be lost, and both ends would count
	// differently.
	if f.LeaseDuration < minLease || f.LeaseDuration > maxLease || f.LeaseDuration%time.Second != 0 {
		return errors.New("--lease-duration: want whole seconds, from 3s to 60s")
	}
	return nil
}
