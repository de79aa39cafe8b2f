// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// handover is how a person gets a key that is made here; none: it is minted into a Secret.
type handover struct {
	showOnce bool
	stdout   bool
	toFile   string
	word     string
}

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

// check finds out whether the key can be handed over, before there is one.
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
	}
	return nil
}

// make creates an ApiKey, and hands its key over if that is made here. A crash in between, at whatever point, leaves no
// key that works and that nobody has in a file: the file is there before the ApiKey. What is printed can't be so; then
// the ApiKey is there, the key is nowhere, and rotate --start-over or revoke is the way out.
func (p *plugin) make(ctx context.Context, c *cluster, k *v1alpha1.ApiKey, h *handover) (*v1alpha1.ApiKey, error) {
	if err := h.check(p); err != nil {
		return nil, err
	}
	if !h.outside() {
		return c.create(ctx, k)
	}
	format, err := key.NewFormat(h.word)
	if err != nil {
		return nil, usageError{err}
	}
	// An environment that is none is for the apiserver to refuse: of the key that is made for it, nobody ever hears.
	plaintext, err := format.Mint(p.Random, key.Environment(k.Spec.Environment))
	if err != nil {
		return nil, err
	}
	k.Spec.SecretHash = key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(k.Namespace)).String()
	k.Spec.SecretName, k.Spec.SecretTemplate = "", nil
	if h.toFile == "" {
		return p.makeAndShow(ctx, c, k, plaintext)
	}
	return p.makeAndWrite(ctx, c, k, plaintext, h.toFile)
}

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

func (p *plugin) makeAndWrite(
	ctx context.Context, c *cluster, k *v1alpha1.ApiKey, plaintext, path string,
) (*v1alpha1.ApiKey, error) {
	if err := writeNew(path, plaintext+"\n"); err != nil {
		return nil, fmt.Errorf("write the key: %w", err)
	}
	made, err := c.create(ctx, k)
	if isRefusal(err) { // the key in the file is none, and never will be
		return nil, errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return nil, fmt.Errorf("the key is in %s; whether it is one is not known, see kubectl letmepost list: %w", path, err)
	}
	p.tell("The key of %s is in %s, and nowhere else.", k.Name, path)
	return made, nil
}

// writeNew writes a file that only its owner can read. One that is there already is never written to: it may be
// anybody's, and it may be another key.
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

// isRefusal tells whether the apiserver has said no, and has not done it.
func isRefusal(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := int(status.Status().Code)
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError
}
