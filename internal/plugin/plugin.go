// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plugin is `kubectl letmepost`: verbs for people who live in kubectl. One file a verb.
//
// It acts with the credential of whoever runs it, from their kubeconfig, and has no rights of its own: what it may do,
// RBAC says. It asks for keys by group and version, so that another resource called ApiKey is never hit.
//
// Results go to standard output; what is being done, and what to do next, goes to standard error.
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
	In       io.Reader
	Out, Err io.Writer
	// Terminal tells whether In and Out are a person's: then they may be asked, and be shown a key.
	Terminal func() (in, out bool)
	Random   io.Reader // a CSPRNG
	Clock    clock.PassiveClock
	Getenv   func(string) string
	// Open shows a person an address in their browser.
	Open func(ctx context.Context, address string) error
}

// plugin is one run.
type plugin struct {
	Options
	flags   *genericclioptions.ConfigFlags
	release string // namespace of the installation
}

// Run runs one command line, without the program's name, and returns its exit status.
func Run(ctx context.Context, args []string, o Options) int {
	p := &plugin{Options: o, flags: genericclioptions.NewConfigFlags(true)}
	root := p.root()
	root.SetArgs(args)
	return p.exit(ctx, root.ExecuteContext(ctx))
}

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
	for _, c := range root.Commands() {
		c.Args = asUsage(c.Args)
		c.ValidArgsFunction = cobra.NoFileCompletions
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

// asUsage makes a wrong number of arguments a wrong command line.
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

// tell tells people what is being done.
func (p *plugin) tell(format string, args ...any) { fmt.Fprintf(p.Err, format+"\n", args...) }
