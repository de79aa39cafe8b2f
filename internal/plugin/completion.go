// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"

	"github.com/spf13/cobra"
)

// completionScript is what kubectl runs to complete the words after `kubectl letmepost`: a program of that name. It
// goes back through kubectl, so that kubectl finds the plugin as it does when it runs it. __complete is cobra's, and is
// there although its own command for scripts is switched off.
const completionScript = `#!/bin/sh
# As kubectl_complete-letmepost on your PATH, it completes the words after "kubectl letmepost".
exec kubectl letmepost __complete "$@"
`

// completion is the verb. kubectl completes the words of plugins by a program on the PATH, and not by a script that is
// sourced into the shell, so that is what it prints.
func (p *plugin) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion",
		Short: "Print the program by which kubectl completes words after kubectl letmepost",
		Example: "  kubectl letmepost completion > ~/bin/kubectl_complete-letmepost\n" +
			"  chmod +x ~/bin/kubectl_complete-letmepost",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(p.Out, completionScript)
			return err
		},
	}
}

// completeNames completes the names of keys. It asks the cluster by the flags that are typed already. Whatever goes
// wrong completes nothing and says nothing: whoever presses Tab is in the middle of a line. Only revoke takes more than
// one name. All names are returned, whatever is typed of one: the shell's script picks those that begin with it.
func (p *plugin) completeNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if cmd.Name() != "revoke" && len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := p.cluster()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	keys, err := c.list(cmd.Context(), c.namespace, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, len(keys.Items))
	for i := range keys.Items {
		names[i] = keys.Items[i].Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
