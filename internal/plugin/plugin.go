// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plugin is `kubectl letmepost`: verbs for people who live in kubectl. One file a verb.
//
// It acts with the credential of whoever runs it, from their kubeconfig, and has no rights of its own: what it may do,
// RBAC says. It asks for keys by group and version, so that another resource called ApiKey is never hit.
//
// Results go to standard output; what is being done, and what to do next, goes to standard error.
//
// A run is one process and one command line: root makes the verbs, each verb reads its flags into an options struct and
// has a cluster made of the kubeconfig, and its run function does the work. What goes wrong comes back as an error,
// which exit.go alone prints and turns into the exit status; no verb ends the process. What several verbs need has
// files of its own: cluster.go asks the apiserver, follow.go waits for what becomes of a key, state.go says how a key
// is, handover.go makes keys on this machine, users.go finds out who is given a Secret, output.go prints tables and
// objects, and bearer.go hands a token to an API.
//
// The cluster may have another version than this program, which people upgrade when they like. So the schema's rules
// are left to the apiserver, whose words come back as the error.
package plugin

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/process"
)

// Options are what a run needs of the world. All are required.
type Options struct {
	In       io.Reader // read only to ask a person at a terminal
	Out, Err io.Writer // results; and all else that is said
	// Terminal tells whether In and Out are a person's: then they may be asked, and be shown a key.
	Terminal func() (in, out bool)
	Random   io.Reader          // a CSPRNG: keys are made of it
	Clock    clock.PassiveClock // of this machine, which may differ from the cluster's
	Getenv   func(string) string
	// Open shows a person an address in their browser. It returns when that has begun, and its error says that there is no
	// browser here: then the address is printed.
	Open func(ctx context.Context, address string) error
}

// plugin is one run. Its flags belong to the command line that it was made for: it can't be run again.
type plugin struct {
	Options
	flags   *genericclioptions.ConfigFlags
	release string // namespace of the installation: its Leases, LeakedKeys and Services are there, and no ApiKeys need be
}

// Run runs one command line, without the program's name, and returns its exit status. ctx ends with Ctrl-C. Then the
// run ends, too, says what it was at, and what it has asked the cluster for goes on there. It may be called any number
// of times in one process, as tests do.
func Run(ctx context.Context, args []string, o Options) int {
	p := &plugin{Options: o, flags: genericclioptions.NewConfigFlags(true)}
	root := p.root()
	root.SetArgs(args)
	return p.exit(ctx, root.ExecuteContext(ctx))
}

// root makes the command and all its verbs. Cobra's own words about errors are off: everything that is wrong goes
// through exit, so that it is said once, on standard error, and has the status that scripts go by.
func (p *plugin) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-letmepost",
		Short: "API keys of letmepost-operator, as verbs",
		Long: "API keys of letmepost-operator, as verbs.\n\n" +
			"It acts with your own credential, and is always about apikeys.letmepost.dev.\n" + exitStatuses,
		// kubectl runs it as a subcommand of its own, so that is what help is to say.
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl letmepost"},
		Version:           "yes", // that there is one: the template below says which
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}, // it would complete kubectl-letmepost
		// Without these cobra itself says that there is no such verb, by an error of no kind.
		Args: cobra.ArbitraryArgs, RunE: unknownVerb, SuggestionsMinimumDistance: 2,
	}
	root.SetVersionTemplate(process.VersionLine("kubectl-letmepost"))
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	p.flags.AddFlags(root.PersistentFlags())
	root.PersistentFlags().StringVar(&p.release, "release-namespace", process.DefaultNamespace,
		"`namespace` that letmepost-operator is installed in")
	root.AddCommand(p.list(), p.mint(), p.revoke(), p.rotate(), p.whoami(), p.whoUses(), p.doctor(), p.dashboard(),
		p.completion())
	// In one place, so that no verb forgets it: what is wrong about its arguments is a usageError, and words that no verb
	// completes by itself are not completed by names of files. Cobra's own help is not among them: it takes the name of a
	// verb, and is added only when the command line is run.
	for _, c := range root.Commands() {
		c.Args = asUsage(c.Args)
		c.ValidArgsFunction = cobra.NoFileCompletions
		// The name that mint takes is one that there is not yet.
		if strings.Contains(c.Use, "NAME") && c.Name() != "mint" {
			c.ValidArgsFunction = p.completeNames
		}
	}
	return root
}

// unknownVerb is run if there is no verb, which asks for help, or none that is known.
func unknownVerb(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return root.Help()
	}
	err := usage("there is no verb %q; see kubectl letmepost --help", args[0])
	if meant := root.SuggestionsFor(args[0]); len(meant) > 0 {
		err = usage("there is no verb %q; did you mean %s?", args[0], strings.Join(meant, " or "))
	}
	return err
}

// asUsage makes a wrong number of arguments a wrong command line. Without a check of its own, a verb takes no
// arguments, as cobra would otherwise take any.
func asUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if check == nil {
			check = cobra.NoArgs
		}
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%w; see kubectl letmepost %s --help", err, c.Name())}
		}
		return nil
	}
}

// tell tells people what is being done. It writes to standard error: what a script reads from standard output stays the
// result alone.
func (p *plugin) tell(format string, args ...any) { fmt.Fprintf(p.Err, format+"\n", args...) }
