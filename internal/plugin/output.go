// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

const wide = "wide"

// output is -o: a table for people, a wider one, or what kubectl's own printers make of the objects. The zero output
// prints the plain table, for verbs that have no -o.
type output struct {
	flags     *genericclioptions.PrintFlags
	noHeaders bool
}

// addFlags adds -o and all that goes with it, such as --template, as kubectl has them. "wide" is ours, and no format
// that cli-runtime knows, so it is written into the usage in front of its own; the words that are cut off there are
// its, and an upgrade that changes them is seen in every help.
func (o *output) addFlags(cmd *cobra.Command) {
	o.flags = genericclioptions.NewPrintFlags("").WithTypeSetter(scheme)
	o.flags.AddFlags(cmd)
	cmd.Flags().BoolVar(&o.noHeaders, "no-headers", false, "leave out the headings of the table")
	flag := cmd.Flags().Lookup("output")
	flag.Usage = "one of: wide, " + flag.Usage[len("Output format. One of: "):]
}

// isWide tells whether the table is to have all its columns.
func (o *output) isWide() bool { return o.flags != nil && *o.flags.OutputFormat == wide }

// objects returns the printer of the objects themselves; nil: a table is asked for. A format that there is not is a
// usageError. A template without -o is a format, too: cli-runtime takes it so.
func (o *output) objects() (printers.ResourcePrinter, error) {
	if o.isWide() || *o.flags.OutputFormat == "" && *o.flags.TemplatePrinterFlags.TemplateArgument == "" {
		return nil, nil
	}
	p, err := o.flags.ToPrinter()
	if genericclioptions.IsNoCompatiblePrinterError(err) {
		return nil, usageError{err}
	}
	return p, err
}

// printKeys prints keys by a printer of objects. That of names takes no lists. Several objects of other formats stay
// one list, so that -o json is one document.
func (o *output) printKeys(printer printers.ResourcePrinter, keys *v1alpha1.ApiKeyList, out io.Writer) error {
	if *o.flags.OutputFormat != "name" {
		return printer.PrintObj(keys, out)
	}
	for i := range keys.Items {
		if err := printer.PrintObj(&keys.Items[i], out); err != nil {
			return err
		}
	}
	return nil
}

// table prints rows for people. Headings of columns that only -o wide has begin with "+".
func (o *output) table(out io.Writer, headings []string, rows [][]any) error {
	t := &metav1.Table{}
	for _, h := range headings {
		column := metav1.TableColumnDefinition{Name: h, Type: "string"}
		if h[0] == '+' {
			column.Name, column.Priority = h[1:], 1
		}
		t.ColumnDefinitions = append(t.ColumnDefinitions, column)
	}
	for _, r := range rows {
		t.Rows = append(t.Rows, metav1.TableRow{Cells: r})
	}
	printer := printers.NewTablePrinter(printers.PrintOptions{Wide: o.isWide(), NoHeaders: o.noHeaders})
	if err := printer.PrintObj(t, out); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	return nil
}

const (
	unknown = "<unknown>" // it can't be known, or may not
	none    = "<none>"
)

// ago is how long ago something was, as kubectl says it. The zero time is not known, rather than long ago.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return unknown
	}
	return duration.HumanDuration(now.Sub(t))
}

// until says when something is to come, such as "in 3d"; "never" for the zero time.
func until(t, now time.Time) string {
	switch {
	case t.IsZero():
		return "never"
	case now.Before(t):
		return "in " + duration.HumanDuration(t.Sub(now))
	default:
		return duration.HumanDuration(now.Sub(t)) + " ago"
	}
}
