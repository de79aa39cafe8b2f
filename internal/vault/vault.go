// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vault seals what opens an account at a platform: tokens, app passwords, keys. A sealed text stands in the
// database; the keys to open it are in a file, which is a mounted Secret in a cluster. Who has one of both has nothing.
//
// Texts are sealed with AES-256-GCM, and each is bound to what it belongs to (Of): moved to another row it does not
// open. The id of its key stands in front of it, so that keys can be exchanged one by one (Keyset).
//
// keyset.go is the keys and what they do, file.go reads and writes the file that they are in, and this file follows
// it: a Secret that is mounted changes under a process that runs.
package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/retry"
)

var (
	// ErrNoKeyset: the vault neither seals nor opens anything. That is the operator's to mend, and no account is worse for
	// it: whatever is asked for can be done later.
	ErrNoKeyset = errors.New("the vault has no keyset")
	// ErrUnknownKey: the text was sealed under a key that the keyset does not have. It opens again when the key is back.
	ErrUnknownKey = errors.New("what opens it is sealed under a key that the vault does not have")
	// ErrTampered: the text is not what was sealed for that account and name. It never opens; the account has to be
	// connected again.
	ErrTampered = errors.New("what opens it is not what was sealed for it")
)

var errNotCompared = errors.New("compare it with the database")

const (
	// rereadEvery is how soon a process knows a keyset that has changed. A kubelet takes up to a minute before.
	rereadEvery = 5 * time.Second
	// staleAfter is when Seal does not go by what was read: a process that was paused may have slept through a promotion,
	// and would seal under a key that is about to be retired.
	staleAfter = 4 * rereadEvery
)

// Options are what a Vault is made of.
type Options struct {
	// Path is the keyset's file; "": there is none, and the vault says so whenever it is used.
	Path string
	KMS  KMS // nil: the keyset is in clear text
	// Needs says how many texts each key has sealed, by the key's id. With it a keyset is compared before it is taken: one
	// of another installation would open nothing, and what it seals would be lost when the right one is put back. Then
	// New reads nothing, and Run begins with it. Optional.
	Needs      func() (map[uint32]int, error)
	Clock      clock.WithTicker
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Vault seals and opens with the keyset of a file, and follows it. It is safe for concurrent use.
//
// A Vault without a keyset works, too: it refuses everything with ErrNoKeyset. The process goes on without what needs
// accounts, because reading what was published must not depend on a Secret.
type Vault struct {
	options Options
	// Read without a lock: who seals or opens does not wait while the file is read, and compared with the database.
	current atomic.Pointer[view]

	reading sync.Mutex // the fields below are of whoever reads the file
	text    []byte     // what the file held when it was taken in
	broken  retry.Complaint
}

// view is what the vault knows at one time. It never changes once it is stored: who has loaded one may go on with it.
type view struct {
	keyset *Keyset // nil: none
	reason error   // why there is none
	readAt time.Time
}

// Fixed returns a vault with a keyset that never changes. It has no file, no log and no metrics.
func Fixed(k *Keyset) *Vault {
	v := new(Vault)
	v.current.Store(&view{keyset: k})
	return v
}

// New makes a vault and reads its keyset. A file that is missing or broken is no error: it is logged, shown by a
// metric, and may be mended while Run runs. The error is that of the metrics.
func New(o Options) (*Vault, error) {
	v := &Vault{options: o}
	v.current.Store(&view{reason: errors.New("it has not been read yet")})
	if o.Needs == nil {
		v.refresh()
	}
	return v, v.register(o.Registerer)
}

// Run takes in what the file becomes, until ctx ends. While it holds no keyset, the last one stays in use.
func (v *Vault) Run(ctx context.Context) {
	if v.refresh(); v.options.Path == "" {
		return
	}
	ticker := v.options.Clock.NewTicker(rereadEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			v.refresh()
		}
	}
}

// Seal encrypts a text under the primary key, to be opened as what it belongs to alone. The error is ErrNoKeyset, or
// names the account and nothing else.
func (v *Vault) Seal(plaintext []byte, of Of) (sealed []byte, err error) {
	now := v.now()
	if now.stale(v.options) {
		now = v.refresh()
	}
	if now.keyset == nil {
		return nil, now.none()
	}
	if sealed, err = now.keyset.seal(plaintext, of); err != nil {
		return nil, fmt.Errorf("account %s: it can't be sealed", of.Account)
	}
	return sealed, nil
}

// Open decrypts what Seal returned for the same Of. Its error names the account and nothing else; it is ErrNoKeyset,
// ErrUnknownKey or ErrTampered.
func (v *Vault) Open(sealed []byte, of Of) (plaintext []byte, err error) {
	now := v.now()
	if now.keyset == nil {
		return nil, now.none()
	}
	plaintext, err = now.keyset.open(sealed, of)
	// Another process may have a newer file than this one has read.
	if errors.Is(err, ErrUnknownKey) && v.options.Path != "" {
		if now = v.refresh(); now.keyset != nil {
			plaintext, err = now.keyset.open(sealed, of)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", of.Account, err)
	}
	return plaintext, nil
}

// Keyset returns what the vault seals and opens with; the error is ErrNoKeyset, with the reason.
func (v *Vault) Keyset() (*Keyset, error) {
	now := v.now()
	if now.keyset == nil {
		return nil, now.none()
	}
	return now.keyset, nil
}

// Decided tells whether it is known by now if the vault has a keyset: from then on, that it has none is for the
// operator to mend. Before that, as while the database that it is compared with is away, it is only a matter of time.
func (v *Vault) Decided() bool {
	now := v.now()
	return now.keyset != nil || !now.readAt.IsZero() && !errors.Is(now.reason, errNotCompared)
}

func (v *Vault) now() *view { return v.current.Load() }

// none is the error of a vault without a keyset: for whoever branches, and for whoever reads.
func (now *view) none() error { return fmt.Errorf("%w: %w", ErrNoKeyset, now.reason) }

// stale is never a Fixed vault's: it has no file to read again, and no clock.
func (now *view) stale(o Options) bool {
	return o.Path != "" && o.Clock.Since(now.readAt) > staleAfter
}

// refresh reads the file and returns what the vault knows then. What is wrong is said once for each way of being wrong:
// a file stays so until somebody mends it. Any goroutine may call it: Run's, or one that seals or opens and can't go
// by what was read.
func (v *Vault) refresh() *view {
	v.reading.Lock()
	defer v.reading.Unlock()
	last, at := v.now(), v.options.Clock.Now()
	text, taken, err := v.read(last.keyset)
	next := &view{keyset: taken, readAt: at}
	switch {
	case err == nil:
		v.text = text
	// Whatever is wrong now, what was taken in before still opens all that it has sealed.
	case last.keyset != nil:
		next.keyset = last.keyset
	default:
		next.reason = err
	}
	v.current.Store(next) // before it is said: whoever reads of it finds it so
	v.say(last, next, err)
	return next
}

// say logs what has become of the keyset. err is that of reading it.
func (v *Vault) say(last, next *view, err error) {
	logger := v.options.Logger
	switch {
	case err == nil:
		v.broken.Clear()
		if next.keyset != last.keyset {
			logger.Info("the vault's keyset is taken in", "keys", next.keyset.Keys(), "primary", next.keyset.Primary())
		}
	case !v.broken.Due(err.Error(), next.readAt): // it has been said
	case next.keyset != nil:
		logger.Error("the vault's new keyset is not taken, the last one stays", "error", err.Error())
	default:
		level := slog.LevelError
		if v.options.Path == "" { // as somebody wanted it, or does not know of it yet
			level = slog.LevelWarn
		}
		logger.Log(context.Background(), level, "the vault has no keyset: accounts can't be connected, and "+
			"nothing is published to platforms, until it has one; all else goes on", "error", err.Error())
	}
}

// read returns what the file holds; last, if that has not changed. It changes nothing: refresh does.
func (v *Vault) read(last *Keyset) ([]byte, *Keyset, error) {
	if v.options.Path == "" {
		return nil, nil, errors.New("--vault-keyset is not given")
	}
	text, err := readFile(v.options.Path)
	if err != nil {
		return nil, nil, err
	}
	// The same bytes are the same keys. No KMS is asked for them every five seconds.
	if last != nil && bytes.Equal(text, v.text) {
		return text, last, nil
	}
	taken, err := ParseKeyset(text, v.options.KMS)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", v.options.Path, err)
	}
	if v.options.Needs == nil {
		return text, taken, nil
	}
	needs, err := v.options.Needs()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNotCompared, err)
	}
	if err := taken.serves(needs, last); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", v.options.Path, err)
	}
	return text, taken, nil
}

// register adds the metrics; docs/observability.md lists them. No key's id is a label.
func (v *Vault) register(r prometheus.Registerer) error {
	usable := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lmp_vault_usable",
		Help: "1 while this process has a keyset to seal and open what it keeps of accounts; else 0.",
	}, func() float64 {
		if v.now().keyset == nil {
			return 0
		}
		return 1
	})
	keys := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lmp_vault_keys",
		Help: "Keys of the vault's keyset that this process knows. More than one for long: a rotation is not finished.",
	}, func() float64 {
		if k := v.now().keyset; k != nil {
			return float64(len(k.ids))
		}
		return 0
	})
	for _, c := range []prometheus.Collector{usable, keys} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the metrics of the vault: %w", err)
		}
	}
	return nil
}
