// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/letmepost/letmepost-operator/internal/vault"
)

const vaultUsage = `Makes the keyset of the vault, and exchanges its keys, one by one.

Usage: api vault COMMAND FILE [flags]

FILE is the keyset. With - it is read from standard input, and the new one written to standard output; what there is to
say goes to standard error then. A file is replaced whole or not at all,
and by one command at a time.

Commands, in the order of a rotation:
  init     make a keyset with one key; a file that is there is left alone
  status   show the keys, and with a database how many secrets each has sealed and how many processes know it
  add      add a key, which opens and does not seal yet
  promote  let the newest key seal; refused until every process of the API knows it
  reseal   seal again what other keys have sealed, and wait until it is done; processes do so by themselves, too
  retire   take out the keys that are older than the one that seals; refused while a secret or a process needs one

`

// vaultCommand is one call of `api vault`.
//
// Those that change the keyset read it, make another, ask the database last where it has to agree, and only then
// write. So one that is refused has written nothing, to standard output neither, and what comes after && is not done.
// No command but reseal writes to the database.
type vaultCommand struct {
	name, file string
	key        uint32 // 0: the command finds it
	secret     string // of `init`
	namespace  string
	kubeconfig string
	timeout    time.Duration
	vaultFlags
	storage storage

	getenv func(string) string
	stdin  io.Reader
	stdout io.Writer
	say    io.Writer // what there is to say: stdout, unless the keyset goes there
}

// vaultCommands are what may be called. A name that is none of them is refused before any file or database is opened.
// init takes no lock, because it never replaces a file: of two at once, the second one finds that there is one.
var vaultCommands = map[string]func(*vaultCommand, context.Context) error{
	"init": (*vaultCommand).create, "status": (*vaultCommand).status, "reseal": (*vaultCommand).reseal,
	"add":     changing((*vaultCommand).add),
	"promote": changing((*vaultCommand).promote),
	"retire":  changing((*vaultCommand).retire),
}

// changing is a command that reads the keyset and writes another. Of two at the same time, the one that comes second is
// refused.
func changing(do func(*vaultCommand, context.Context) error) func(*vaultCommand, context.Context) error {
	return func(c *vaultCommand, ctx context.Context) error {
		if c.file != "-" {
			unlock, err := vault.LockFile(c.file)
			if err != nil {
				return err
			}
			defer unlock()
		}
		return do(c, ctx)
	}
}

// runVault is `api vault`.
func runVault(
	ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer,
) error {
	c := &vaultCommand{getenv: getenv, stdin: stdin, stdout: stdout, say: stdout}
	if err := c.parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return err
	}
	if c.file == "-" { // then standard output has the new keyset, for the next command of a pipeline, and nothing else
		c.say = stderr
	}
	// It has a cause because `reseal` ends with that: a deadline that is exceeded would not say which flag to change.
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("--timeout: not done within %s", c.timeout))
	defer cancel()
	return vaultCommands[c.name](c, ctx)
}

// parse reads the command line. Its errors are usageErrors, or pflag.ErrHelp.
func (c *vaultCommand) parse(args []string) error {
	flags := pflag.NewFlagSet("api vault", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.Uint32Var(&c.key, "key", 0,
		"Key of promote or retire. Default: promote takes the newest, retire all that are older than the one that seals.")
	// A flag of its own, and none of the database: the job that makes the Secret has none.
	flags.StringVar(&c.secret, "secret", "",
		"With init, in place of FILE: a Secret to make, with the keyset in "+keysetEntry+". One that is there is left alone.")
	flags.StringVar(&c.namespace, "namespace", "", "Namespace of --secret. Default: the pod's own.")
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "Kubeconfig file for --secret. Default: as for the API.")
	flags.DurationVar(&c.timeout, "timeout", 10*time.Minute, "How long all of it may take.")
	c.storage.addDatabaseFlags(flags)
	c.addKMSFlag(flags)
	flags.Usage = func() { fmt.Fprint(c.stdout, vaultUsage+"Flags:\n"+flags.FlagUsagesWrapped(helpColumns)) }
	if err := flags.Parse(args); err != nil {
		if err == pflag.ErrHelp { //nolint:errorlint // pflag returns it bare.
			return err
		}
		return usageError{err.Error()}
	}
	c.name, c.file = flags.Arg(0), flags.Arg(1)
	_, known := vaultCommands[c.name]
	switch {
	case c.name == "":
		return usageError{"vault: want a command: init, status, add, promote, reseal or retire"}
	case !known:
		return usageError{fmt.Sprintf("vault: there is no command %q", c.name)}
	case c.secret != "" && c.name != "init":
		return usageError{"vault: --secret is of init alone; for the others, docs/accounts.md has the commands"}
	case (c.file == "") == (c.secret == "") || flags.NArg() > 2:
		return usageError{"vault " + c.name + ": want one FILE, or -"}
	case c.timeout <= 0:
		return usageError{"--timeout must be positive"}
	}
	if err := c.check(); err != nil {
		return err
	}
	// Only the live API has a vault: nothing that a sandbox gives opens anything.
	return c.storage.checkDatabase("live", c.getenv)
}

// read reads the keyset.
func (c *vaultCommand) read() (*vault.Keyset, error) {
	if c.file != "-" {
		return vault.ReadFile(c.file, c.kms)
	}
	// There is a bound because it is read into memory, and it is above a keyset's own, so that ParseKeyset is what says
	// that there is too much.
	text, err := io.ReadAll(io.LimitReader(c.stdin, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the keyset: %w", err)
	}
	return vault.ParseKeyset(text, c.kms)
}

// write puts another keyset in place of the one that was read.
func (c *vaultCommand) write(k *vault.Keyset) error {
	if c.file != "-" {
		return vault.ReplaceFile(c.file, k, c.kms)
	}
	return c.print(k)
}

// print writes the keyset to standard output. Without a KMS those are the keys themselves, so nothing else goes
// there.
func (c *vaultCommand) print(k *vault.Keyset) error {
	text, err := k.Encode(c.kms)
	if err != nil {
		return err
	}
	if _, err := c.stdout.Write(text); err != nil {
		return fmt.Errorf("write the keyset: %w", err)
	}
	return nil
}

func (c *vaultCommand) sayf(format string, args ...any) { fmt.Fprintf(c.say, format+"\n", args...) }

// create is `vault init`. It asks no database, so that it can come before there is one. A keyset that opens nothing
// of what the database has is found out by the processes, which don't take it.
func (c *vaultCommand) create(ctx context.Context) error {
	k, err := vault.NewKeyset()
	if err != nil {
		return err
	}
	switch {
	case c.secret != "":
		return c.createSecret(ctx, k)
	case c.file == "-":
		return c.print(k)
	}
	err = vault.CreateFile(c.file, k, c.kms)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and is left alone: what it has sealed opens with nothing else", c.file)
	}
	if err == nil {
		c.sayf("made %s with key %d; keep a copy of it where the database's backups are not", c.file, k.Primary())
	}
	return err
}

// add is `vault add`. It asks no database: a key that seals nothing is missed by nobody who does not know it yet.
func (c *vaultCommand) add(context.Context) error {
	k, err := c.read()
	if err != nil {
		return err
	}
	// One at a time: promote takes the newest, so of two the first would be left behind.
	if newest := k.Keys()[len(k.Keys())-1]; newest != k.Primary() {
		return fmt.Errorf("key %d was added and does not seal yet: promote it, or retire it with --key=%d", newest, newest)
	}
	added, id, err := k.Add()
	if err != nil {
		return err
	}
	if err := c.write(added); err != nil {
		return err
	}
	c.sayf("added key %d; `vault promote` lets it seal once every process knows it", id)
	return nil
}

// promote is `vault promote`. With --key it goes back to an older key as well, on the same condition.
func (c *vaultCommand) promote(ctx context.Context) error {
	k, err := c.read()
	if err != nil {
		return err
	}
	id := c.key
	if id == 0 {
		id = k.Keys()[len(k.Keys())-1]
	}
	if id == k.Primary() {
		return fmt.Errorf("key %d seals already: `vault add` makes another", id)
	}
	promoted, err := k.Promote(id)
	if err != nil {
		return err
	}
	// The processes are asked last: what they say is to be true when the file is written.
	if err := c.withDatabase(ctx, func(d *keyUse) error { return d.mayPromote(id) }); err != nil {
		return err
	}
	if err := c.write(promoted); err != nil {
		return err
	}
	c.sayf("key %d seals from now on; what older keys have sealed is sealed again, which `vault reseal` waits for", id)
	return nil
}

// retire is `vault retire`. With --key it may be one that came after the primary: that is how a key goes that was
// added and is not wanted after all.
func (c *vaultCommand) retire(ctx context.Context) error {
	k, err := c.read()
	if err != nil {
		return err
	}
	old := []uint32{c.key}
	if c.key == 0 {
		old = olderThanPrimary(k)
	}
	if len(old) == 0 {
		return errors.New("no key is older than the one that seals: there is nothing to retire")
	}
	// Done before the database is asked, as for promote: what the keyset itself refuses needs no answer of any process,
	// and what they answer is to be true when the file is written.
	retired := k
	for _, id := range old {
		if retired, err = retired.Retire(id); err != nil {
			return err
		}
	}
	if err := c.withDatabase(ctx, func(d *keyUse) error { return d.mayRetire(old, k.Primary()) }); err != nil {
		return err
	}
	if err := c.write(retired); err != nil {
		return err
	}
	c.sayf("retired %s", strings.Trim(fmt.Sprint(old), "[]"))
	return nil
}

// olderThanPrimary are the keys that were added before the one that seals. One that came after it is on its way in.
func olderThanPrimary(k *vault.Keyset) []uint32 {
	for i, id := range k.Keys() {
		if id == k.Primary() {
			return k.Keys()[:i]
		}
	}
	return nil
}
