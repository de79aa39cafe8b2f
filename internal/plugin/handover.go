// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// handover is how a person gets a key that is made here; none: it is minted into a Secret. The plaintext is only ever
// on this machine: the apiserver is sent the hash, and no argument, log or error has it.
type handover struct {
	showOnce bool   // to standard output, which has to be a terminal
	stdout   bool   // or not: with showOnce, and for pipes
	toFile   string // path of a file that is not there yet; "": none
	word     string // that keys begin with: a key of another word is none to the API
}

// addFlags adds the flags of mint and rotate for a key that is made here. There is none that takes a key: an argument
// is in the shell's history, and in the list of processes.
func (h *handover) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&h.showOnce, "show-once", false, "make the key here, send its hash alone, and print it to the terminal")
	f.BoolVar(&h.stdout, "stdout", false,
		"with --show-once: print it even if standard output is no terminal, but a pipe or a file")
	f.StringVar(&h.toFile, "to-file", "",
		"make the key here, send its hash alone, and write it to this new `file` (mode 0600)")
	f.StringVar(&h.word, "key-prefix", key.DefaultWord,
		"`word` that keys begin with, as the controller's flag of that name")
}

// outside tells whether the key is made here.
func (h *handover) outside() bool { return h.showOnce || h.toFile != "" }

// check finds out whether the key can be handed over, before there is one, and before anything else is changed. Found
// out afterwards, there would be an ApiKey whose key nobody has. Its errors are usageErrors.
func (h *handover) check(p *plugin) error {
	_, terminal := p.Terminal()
	switch {
	case h.showOnce && h.toFile != "":
		return usage("--show-once and --to-file are two ways to have the key: give one of them")
	case h.stdout && !h.showOnce:
		return usage("--stdout goes with --show-once")
	case h.showOnce && !terminal && !h.stdout:
		return usage("standard output is no terminal: what reads it may keep the key, as CI keeps its logs. " +
			"Take --to-file, or say --stdout if you are sure")
	case !h.outside():
		return nil
	}
	if _, err := key.NewFormat(h.word); err != nil {
		return usageError{err}
	}
	return nil
}

// checkFile finds out whether the file can be made, before anything is done that can't be undone. It is not check's:
// the same command line may be given again, to wait for a key that it has made, and then the file is there.
func (h *handover) checkFile() error {
	if h.toFile == "" {
		return nil
	}
	if _, err := os.Lstat(h.toFile); err == nil {
		return usage("--to-file: %s is there already, and may be another key: name a new file", h.toFile)
	}
	if folder, err := os.Stat(filepath.Dir(h.toFile)); err != nil || !folder.IsDir() {
		return usage("--to-file: there is no folder %s", filepath.Dir(h.toFile))
	}
	return nil
}

// make creates an ApiKey, and hands its key over if that is made here; check has said that it can be. A crash in
// between, at whatever point, leaves no key that works and that nobody has in a file: the file is there before the
// ApiKey. What is printed can't be so; then the ApiKey is there, the key is nowhere, and rotate --start-over or revoke
// is the way out.
func (p *plugin) make(ctx context.Context, c *cluster, k *v1alpha1.ApiKey, h *handover) (*v1alpha1.ApiKey, error) {
	if !h.outside() {
		return c.create(ctx, k)
	}
	format, err := key.NewFormat(h.word)
	if err != nil {
		return nil, err
	}
	// An environment that is none is for the apiserver to refuse: of the key that is made for it, nobody ever hears.
	plaintext, err := format.Mint(p.Random, key.Environment(k.Spec.Environment))
	if err != nil {
		return nil, err
	}
	// A key that is brought is bound to its namespace by name. Its hash excludes what is about a Secret, in the schema
	// too.
	k.Spec.SecretHash = key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(k.Namespace)).String()
	k.Spec.SecretName, k.Spec.SecretTemplate = "", nil
	if h.toFile == "" {
		return p.makeAndShow(ctx, c, k, plaintext)
	}
	return p.makeAndWrite(ctx, c, k, plaintext, h.toFile)
}

// makeAndShow creates the ApiKey first: a key that was printed can't be taken back if the apiserver refuses it. The key
// alone goes to standard output, as its first line, so that it can be piped on.
func (p *plugin) makeAndShow(
	ctx context.Context, c *cluster, k *v1alpha1.ApiKey, plaintext string,
) (*v1alpha1.ApiKey, error) {
	made, err := c.create(ctx, k)
	if err != nil {
		return nil, err
	}
	p.tell("The key of %s. It is shown once, and stored nowhere:", k.Name)
	if _, err := fmt.Fprintln(p.Out, plaintext); err != nil {
		return nil, fmt.Errorf("the key could not be printed, and nobody has it: kubectl letmepost revoke %s: %w",
			k.Name, err)
	}
	return made, nil
}

// makeAndWrite writes the file first, so that no key works that is in none. It is removed only if the apiserver has
// refused: after any other error the ApiKey may be there, and the file may have the one copy of its key.
func (p *plugin) makeAndWrite(
	ctx context.Context, c *cluster, k *v1alpha1.ApiKey, plaintext, path string,
) (*v1alpha1.ApiKey, error) {
	if err := writeNew(path, plaintext+"\n"); err != nil {
		return nil, fmt.Errorf("write the key: %w", err)
	}
	made, err := c.create(ctx, k)
	if isRefusal(err) { // the key in the file is none, and never will be
		// Joined, and not made a text: makeSuccessor looks for AlreadyExists in it.
		return nil, errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return nil, fmt.Errorf("the key is in %s; whether it is one is not known, see kubectl letmepost list: %w", path, err)
	}
	p.tell("The key of %s is in %s, and nowhere else.", k.Name, path)
	return made, nil
}

// writeNew writes a file that only its owner can read. One that is there already is never written to: it may be
// anybody's, and it may be another key. It is synced before it is relied upon: the ApiKey, once it is created, outlasts
// a power failure of this machine.
func writeNew(path, text string) error {
	//nolint:gosec // G304: where people want their key is theirs to say
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// isRefusal tells whether the apiserver has said no, and has not done it. No answer, or one of the server's own errors
// (5xx), leaves that open.
//
// A name that is taken is a refusal as well (409), and makeSuccessor relies on it: under the next name it makes another
// key, and writes that to a file of the same path, which must not be there then.
func isRefusal(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := int(status.Status().Code)
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError
}
