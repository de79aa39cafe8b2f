// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/retry"
)

// A rotation has three steps: mint a successor, have everybody switch to it, revoke the old key. How far it is stands
// in the cluster and nowhere else: the successor has the label LabelRotates, what still uses the old key is seen, and a
// key that is being deleted says so. So whoever runs the command again, wherever it ended and on whatever machine, goes
// on where it was.

type rotateOptions struct {
	handover
	to        string        // name of the successor; "": nextName
	secret    string        // name of its Secret; "": nextName of the old one's, if that was chosen
	expiresIn time.Duration // 0: as long as the old key was to last
	switched  bool          // somebody's word, in place of the question
	force     bool          // don't look who is still given the old Secret
	startOver bool
	timeout   time.Duration // of each wait, not of all
}

// rotate is the verb. It takes the rights of mint and of revoke, and sees as much of what is given the old Secret as
// whoever runs it may list. It needs no right to Secrets: it never reads a key.
func (p *plugin) rotate() *cobra.Command {
	o := &rotateOptions{}
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Replace a key: mint a new one, wait until everybody has it, revoke the old one",
		Long: "Replace a key by a new one that may do the same, in three steps:\n\n" +
			"  1. mint the new key, into a Secret of its own\n" +
			"  2. wait until nothing in the namespace is given the old Secret, and you say that all others have switched\n" +
			"  3. revoke the old key, and wait until no replica accepts it\n\n" +
			"Ctrl-C ends it at any step: the same command goes on from there. Without a terminal it stops after the first\n" +
			"step; --switched is your word that it may go on.",
		Example: "  kubectl letmepost rotate backend -n acme\n" +
			"  kubectl letmepost rotate backend -n acme --switched   # in a script, after the rollout",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			err = p.runRotate(cmd.Context(), c, args[0], o)
			if err != nil && cmd.Context().Err() != nil {
				p.tell("to go on: kubectl letmepost rotate %s -n %s", args[0], c.namespace)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "`name` of the new key; default: that of the old one with the next number")
	f.StringVar(&o.secret, "secret", "", "`name` of the new Secret; default: that of the old one with the next number")
	f.DurationVar(&o.expiresIn, "expires-in", 0, "how long the new key is to last; default: as long as the old one was to")
	f.BoolVar(&o.switched, "switched", false, "your word that everybody outside of this namespace has the new key")
	f.BoolVar(&o.force, "force", false,
		"don't look at what here is given the old key, and revoke it even if something is")
	f.BoolVar(&o.startOver, "start-over", false, "revoke the new key of a rotation that has begun, and begin anew")
	o.addFlags(cmd)
	addTimeout(cmd, &o.timeout, 2*time.Minute, "how long each step may wait, but for what you are asked")
	return cmd
}

// check finds out what is wrong with the flags, whatever the cluster says. Its errors are usageErrors.
func (o *rotateOptions) check(p *plugin) error {
	switch {
	case o.expiresIn < 0:
		return usage("--expires-in %s is in the past", o.expiresIn)
	case o.secret != "" && o.outside():
		return usage("--secret is for a key that is minted into a Secret: with --show-once and --to-file there is none")
	default:
		return o.handover.check(p)
	}
}

// runRotate goes through the steps from where they stand. The old key is asked for first, because what it says decides:
// gone, the rotation may be over; being deleted, only the wait is left; otherwise all three steps are gone through, and
// those that are done are found done. Between two runs anybody may have changed anything, so nothing is remembered.
func (p *plugin) runRotate(ctx context.Context, c *cluster, name string, o *rotateOptions) error {
	if err := o.check(p); err != nil {
		return err
	}
	old, err := c.get(ctx, name)
	// An apiserver without our resources answers 404 as well, and says nothing of the key by it.
	if apierrors.IsNotFound(err) && !isUnserved(err) {
		return p.alreadyRotated(ctx, c, name, err)
	}
	if err != nil {
		return err
	}
	successor, err := p.successor(ctx, c, old, o)
	if err != nil {
		return err
	}
	// Of a key that is being deleted, the first two steps are over: somebody was interrupted in the third.
	if old.DeletionTimestamp.IsZero() {
		if err := p.awaitServed(ctx, c, successor, o.timeout); err != nil {
			return err
		}
		fmt.Fprintf(p.Out, "%s takes the place of %s\n", nameOf(successor), nameOf(old))
		goOn, err := p.switchOver(ctx, c, old, successor, o)
		if !goOn {
			return err
		}
	}
	p.tell("step 3 of 3: revoking %s", old.Name)
	// Without canceling anything: what the old key has scheduled is still meant, or it would have been revoked.
	if err := p.askDeletion(ctx, c, old, &revokeOptions{}); err != nil {
		return fmt.Errorf("revoke %s: %w", old.Name, err)
	}
	waiting, cancel := context.WithTimeoutCause(ctx, o.timeout, errTimeout)
	defer cancel()
	if err := p.awaitRevoked(waiting, c, old); err != nil {
		return err
	}
	fmt.Fprintf(p.Out, "%s revoked: no replica accepts it any more\n", nameOf(old))
	return nil
}

// alreadyRotated is what is said of a key that is not there: it may be the end of a rotation that nobody has seen.
// missing is the error that the key is not there, which is returned if no successor is found, or none can be looked
// for. A successor that is being deleted takes nobody's place.
func (p *plugin) alreadyRotated(ctx context.Context, c *cluster, name string, missing error) error {
	list, err := c.list(ctx, c.namespace, v1alpha1.LabelRotates)
	if err != nil {
		return missing
	}
	for i := range list.Items {
		if k := &list.Items[i]; follows(k.Name, name) && k.DeletionTimestamp.IsZero() {
			fmt.Fprintf(p.Out, "%s is gone, and %s is there that took a key's place: nothing is left to do\n", name, nameOf(k))
			return nil
		}
	}
	return missing
}

// successor is step 1: it returns the key that takes the place of the old one, and makes it if there is none. With
// --start-over that is another one than there is; the one that there is goes only when nothing is left to be refused as
// a wrong command line.
func (p *plugin) successor(
	ctx context.Context, c *cluster, old *v1alpha1.ApiKey, o *rotateOptions,
) (*v1alpha1.ApiKey, error) {
	found, err := c.successors(ctx, old)
	if err != nil {
		return nil, err
	}
	deleted := !old.DeletionTimestamp.IsZero()
	switch {
	// Not while the old key is being deleted: then nothing would be left that is served.
	case len(found) > 0 && (!o.startOver || deleted):
		k := found[0]
		p.tell("step 1 of 3: %s is there already, since %s", k.Name, ago(k.CreationTimestamp.Time, p.Clock.Now()))
		if k.Spec.SecretHash != "" {
			p.tell("Its key was handed over when it was made, and can't be again. If nobody has it: --start-over")
		}
		return k, nil
	case deleted:
		return nil, fmt.Errorf("%s is being deleted, and nothing was minted in its place", old.Name)
	case old.Spec.SecretHash != "" && !o.outside():
		return nil, usage("%s was brought by its hash, so its successor is made here as well: say --to-file or --show-once",
			old.Name)
	}
	if err := p.revokeSuccessors(ctx, c, found, o); err != nil {
		return nil, err
	}
	p.tell("step 1 of 3: minting a key that may do what %s may", old.Name)
	return p.makeSuccessor(ctx, c, old, o)
}

// revokeSuccessors is the beginning of --start-over.
func (p *plugin) revokeSuccessors(ctx context.Context, c *cluster, found []*v1alpha1.ApiKey, o *rotateOptions) error {
	if len(found) == 0 {
		return nil
	}
	if err := o.checkFile(); err != nil { // before anything is revoked
		return err
	}
	names := make([]string, len(found))
	for i, k := range found {
		names[i] = k.Name
	}
	p.tell("revoking %s, to begin anew", strings.Join(names, ", "))
	return p.runRevoke(ctx, c, names, &revokeOptions{timeout: o.timeout})
}

// successors are the keys that were minted to take the place of this one, the oldest first: of two that were made at
// once, everybody goes on with the same. The label has the UID, and not the name: a key that was made again under an
// old name has no successor yet. One that is being deleted is none.
func (c *cluster) successors(ctx context.Context, old *v1alpha1.ApiKey) ([]*v1alpha1.ApiKey, error) {
	found, err := c.find(ctx, nil, v1alpha1.LabelRotates+"="+string(old.UID))
	found = slices.DeleteFunc(found, func(k *v1alpha1.ApiKey) bool { return !k.DeletionTimestamp.IsZero() })
	slices.SortFunc(found, func(a, b *v1alpha1.ApiKey) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	return found, err
}

// makeSuccessor makes it under the next name that is free. If two do so at once, both want the same name: who comes
// second finds the key of the first, and goes on with that.
func (p *plugin) makeSuccessor(
	ctx context.Context, c *cluster, old *v1alpha1.ApiKey, o *rotateOptions,
) (*v1alpha1.ApiKey, error) {
	// follows goes by the same number.
	const mostNames = 20
	wanted := successorOf(old, o, p.Clock.Now())
	for range mostNames {
		// A copy each time: make changes the spec of a key that is made here, and each name has a key of its own.
		made, err := p.make(ctx, c, wanted.DeepCopy(), &o.handover)
		if !apierrors.IsAlreadyExists(err) {
			return made, err
		}
		if found, other := c.successors(ctx, old); other == nil && len(found) > 0 {
			return found[0], nil
		}
		// A name that somebody has chosen is not exchanged for another.
		if o.to != "" {
			return nil, err
		}
		wanted.Name = nextName(wanted.Name)
	}
	return nil, fmt.Errorf("%d names after %s are taken: say --to NAME", mostNames, old.Name)
}

// switchOver is step 2. It returns true if the old key may go. False without an error: there is nobody to ask, and the
// run ends well after its first step, as scripts want it. With an error, it was not found out, or somebody has said no.
// The look at the namespace comes before the question, so that nobody gives their word while something here would
// break. --switched is no word for what is here: if that can't be looked at, the old key stays. A person is asked all
// the same, and told of it: they may know better.
func (p *plugin) switchOver(
	ctx context.Context, c *cluster, old, successor *v1alpha1.ApiKey, o *rotateOptions,
) (bool, error) {
	if from, to := old.SecretName(), successor.SecretName(); from != "" && to != "" {
		p.tell("step 2 of 3: what is given the Secret %s is to be given %s", from, to)
	} else {
		p.tell("step 2 of 3: whoever has %s is to be given %s", old.Name, successor.Name)
	}
	in, _ := p.Terminal()
	if !o.switched && !in {
		p.tell("When all have the new key: kubectl letmepost rotate %s -n %s --switched", old.Name, c.namespace)
		return false, nil
	}
	looked := false
	if old.SecretName() != "" && !o.force {
		unseen, err := p.awaitUnused(ctx, c, old, o)
		switch {
		case err != nil:
			return false, err
		case unseen != nil && o.switched:
			return false, unconfirmedError{fmt.Errorf("%s is not revoked: something here may still be given %s, and not all "+
				"could be looked at: %w. Whoever may list it can say the same again; --force revokes it anyway",
				old.Name, old.SecretName(), unseen)}
		case unseen != nil:
			p.tell("Not all that may be given %s could be looked at: %v", old.SecretName(), unseen)
		}
		looked = unseen == nil
	}
	if o.switched {
		return true, nil
	}
	return p.askSwitched(ctx, old, looked)
}

// awaitUnused waits until nothing in the namespace is given the old Secret. Whoever has no terminal is not kept waiting
// for longer than --timeout; whoever has one sees what is waited for. What the caller may not look at is in unseen, and
// is not waited for: it would never come to an end. Any other error is waited out, as one that passes. The list is said
// again only when it has changed. Nothing is watched: that would take one more right for each of these kinds.
func (p *plugin) awaitUnused(
	ctx context.Context, c *cluster, old *v1alpha1.ApiKey, o *rotateOptions,
) (unseen, err error) {
	if in, _ := p.Terminal(); !in {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, errTimeout)
		defer cancel()
	}
	for said := ""; ; {
		var found []user
		found, unseen, err = c.usersOf(ctx, old)
		if len(found) == 0 && err == nil {
			return unseen, nil
		}
		text := namesOf(found)
		if err != nil {
			text = fmt.Sprintf("whoever it is: %v", err)
		}
		if text != said && ctx.Err() == nil {
			said = text
			p.tell("%s is still given to %s", old.SecretName(), text)
		}
		if !retry.Pause(ctx, lookAgain) {
			return nil, unconfirmedError{fmt.Errorf("%s is not revoked: %s is still given to %s: %w. "+
				"When all have switched, say the same again; --force revokes it anyway",
				old.Name, old.SecretName(), said, context.Cause(ctx))}
		}
	}
}

func namesOf(found []user) string {
	names := make([]string, len(found))
	for i, u := range found {
		names[i] = u.what
	}
	return strings.Join(names, ", ")
}

// askSwitched asks the person at the terminal for their word: not everything that has a key runs in its namespace.
// Anything but "yes" is a no, and an end of the input is one, too. looked tells whether all of the namespace was looked
// at: only then is their word asked for the rest alone.
func (p *plugin) askSwitched(ctx context.Context, old *v1alpha1.ApiKey, looked bool) (bool, error) {
	question := "Has everybody the new key, here as elsewhere?"
	if looked {
		question = fmt.Sprintf("Nothing here is given %s any more. Has everybody else the new key?", old.Name)
	}
	p.tell("%s Type yes to revoke the old one:", question)
	answer := make(chan string, 1)
	go func() { // it outlives ctx, and ends with the process: a read of a terminal can't be ended
		line, _ := bufio.NewReader(p.In).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case line := <-answer:
		if line == "yes" {
			return true, nil
		}
		return false, fmt.Errorf("%s is not revoked, and goes on working: say the same again when it may go", old.Name)
	}
}
