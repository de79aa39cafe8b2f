// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// mintOptions are the flags of mint, as they were typed. The environment is required; the zero value of any other asks
// for nothing, and what the key then has is said in its help.
type mintOptions struct {
	handover
	environment string
	profile     string
	scopes      []string
	claims      map[string]string
	expiresIn   time.Duration
	expiresAt   string
	rateLimit   string
	secret      string
	labels      map[string]string
	timeout     time.Duration
}

// mint is the verb. It takes the right to create ApiKeys, of live ones also apikeys/live. Whoever may not list and
// watch them gets their key all the same, and exit status 4: nobody has seen that it is served.
func (p *plugin) mint() *cobra.Command {
	o := &mintOptions{}
	cmd := &cobra.Command{
		Use:   "mint NAME --environment live|test",
		Short: "Mint a key: into a Secret, or to be shown to you once",
		Long: "Mint a key. It is minted into a Secret, which the Pods that need it mount, and which nobody has to see.\n\n" +
			"With --show-once or --to-file it is made here instead: only its hash travels, and it stands nowhere in the\n" +
			"cluster. It is printed to your terminal, once, or written to a new file that only you can read. It never is an\n" +
			"argument, so no shell has it in its history.",
		Example: "  kubectl letmepost mint backend -n acme --environment live --scopes posts:read,posts:write\n" +
			"  kubectl letmepost mint laptop -n acme --environment test --expires-in 720h --to-file ~/.letmepost-key",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			return p.runMint(cmd.Context(), c, args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.environment, "environment", "e", "",
		"`live` publishes to real platforms, test reaches the sandbox; required")
	f.StringVar(&o.profile, "profile", "",
		"pin the key to this `Profile` of the namespace; default: it reaches the whole organization")
	f.StringSliceVar(&o.scopes, "scopes", nil, "what the key may do, such as `posts:read,media:read`, also scopes of\n"+
		"your own, such as billing.example.com:read; default: all that this API knows")
	f.StringToStringVar(&o.claims, "claims", nil,
		"what services behind a gate are told of whoever has the key, such as `plan=gold,customer=42`")
	f.DurationVar(&o.expiresIn, "expires-in", 0, "how long the key is to last, such as 720h; default: for ever")
	f.StringVar(&o.expiresAt, "expires-at", "", "the `time` from which on it is refused, such as 2027-01-31T00:00:00Z")
	f.StringVar(&o.rateLimit, "rate-limit", "",
		"how many requests in how long, such as `100/1m`; default: the Profile's, or the server's")
	f.StringVar(&o.secret, "secret", "", "`name` of the Secret to mint into; default: the key's own")
	f.StringToStringVar(&o.labels, "labels", nil, "`labels` of the ApiKey, such as team=web")
	o.addFlags(cmd)
	addTimeout(cmd, &o.timeout, time.Minute, "how long to wait until the key is served")
	return cmd
}

// runMint asks for the key, waits until it is served, and only then says that it is minted. The key itself, if it is
// made here, is handed over before that wait: whoever interrupts it has the key, and the ApiKey is there.
func (p *plugin) runMint(ctx context.Context, c *cluster, name string, o *mintOptions) error {
	k, err := o.key(name, c.namespace, p.Clock.Now())
	if err != nil {
		return err
	}
	if err := o.check(p); err != nil {
		return err
	}
	made, err := p.make(ctx, c, k, &o.handover)
	if err != nil {
		return err
	}
	if err := p.awaitServed(ctx, c, made, o.timeout); err != nil {
		return err
	}
	fmt.Fprintf(p.Out, "%s minted\n", nameOf(made))
	if secret := made.SecretName(); secret != "" {
		p.tell("The key is in the Secret %s. In a container of a Pod:\n\n"+
			"    envFrom: [{secretRef: {name: %s}}]\n", secret, secret)
	}
	return nil
}

// key is the ApiKey that the flags ask for. What the schema checks is left to it: the apiserver has the rules of its
// version, and this program may be older or newer. So are the scopes if no flag names any: the schema has all that the
// cluster's version knows as their default.
func (o *mintOptions) key(name, namespace string, now time.Time) (*v1alpha1.ApiKey, error) {
	if o.environment == "" {
		return nil, usage("--environment: say live, which publishes to real platforms, or test, which reaches the sandbox")
	}
	if o.secret != "" && o.outside() {
		return nil, usage("--secret is for a key that is minted into a Secret: with --show-once and --to-file there is none")
	}
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: o.labels},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.Environment(o.environment), SecretName: o.secret},
	}
	if o.profile != "" {
		k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: o.profile}
	}
	for _, s := range o.scopes {
		k.Spec.Scopes = append(k.Spec.Scopes, v1alpha1.Scope(s))
	}
	for name, text := range o.claims {
		if k.Spec.Claims == nil {
			k.Spec.Claims = map[string]v1alpha1.ClaimValue{}
		}
		k.Spec.Claims[name] = v1alpha1.ClaimValue(text)
	}
	var err error
	if k.Spec.ExpiresAt, err = o.expiry(now); err != nil {
		return nil, err
	}
	if k.Spec.RateLimit, err = parseRate(o.rateLimit); err != nil {
		return nil, err
	}
	return k, nil
}

// expiry is when the key is to end; nil: the flags don't say, and a Profile still may.
func (o *mintOptions) expiry(now time.Time) (*metav1.Time, error) {
	switch {
	case o.expiresAt != "" && o.expiresIn != 0:
		return nil, usage("--expires-in and --expires-at say the same: give one of them")
	case o.expiresAt != "":
		t, err := time.Parse(time.RFC3339, o.expiresAt)
		if err != nil {
			return nil, usage("--expires-at %s: want a time such as 2027-01-31T00:00:00Z", o.expiresAt)
		}
		return &metav1.Time{Time: t}, nil
	case o.expiresIn < 0:
		return nil, usage("--expires-in %s is in the past", o.expiresIn)
	case o.expiresIn > 0: // in whole seconds, as JSON has them: what is read back is what was asked for
		return &metav1.Time{Time: now.Add(o.expiresIn).UTC().Truncate(time.Second)}, nil
	default:
		return nil, nil
	}
}

// parseRate reads the form alone. Which numbers a rate may have, the schema says.
func parseRate(text string) (*v1alpha1.RateLimit, error) {
	if text == "" {
		return nil, nil
	}
	// Without a slash the window is empty, which is no time. 32 bits, as the field has: more would become another number.
	requests, window, _ := strings.Cut(text, "/")
	n, wrong := strconv.ParseInt(requests, 10, 32)
	d, err := time.ParseDuration(window)
	if wrong != nil || err != nil {
		return nil, usage("--rate-limit %s: want a number of requests and a time, such as 100/1m", text)
	}
	return &v1alpha1.RateLimit{Requests: int32(n), Window: metav1.Duration{Duration: d}}, nil
}

// awaitServed waits until the key is served, or until the controller says that it waits for a person. Its error is an
// unconfirmedError wherever the ApiKey is there, so that a script tells "not yet" from "not at all"; an interrupt has
// its own exit status. Another ApiKey under the same name counts as a deletion: it is not the one that was asked for.
// That none is there counts at the first look as well. It is a list without a resourceVersion, which the apiserver
// answers with nothing older than the key that it has just created.
func (p *plugin) awaitServed(ctx context.Context, c *cluster, k *v1alpha1.ApiKey, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	var end error
	last := k
	err := c.follow(ctx, k.Namespace, k.Name, func(now *v1alpha1.ApiKey) bool {
		switch {
		case now == nil || now.UID != k.UID || !now.DeletionTimestamp.IsZero():
			end = fmt.Errorf("%s was deleted meanwhile", k.Name)
		case isServed(now):
		case meta.IsStatusConditionTrue(now.Status.Conditions, v1alpha1.ConditionStalled):
			end = unconfirmedError{fmt.Errorf("%s is there, and not served: %s", k.Name, whyNot(now))}
		default:
			last = now
			return false
		}
		return true
	})
	switch {
	case errors.Is(err, errTimeout):
		return unconfirmedError{fmt.Errorf("%s is there, and not served yet: %s", k.Name, whyNot(last))}
	// Whoever may create ApiKeys need not be allowed to watch them. The key is made, and that is to be said.
	case err != nil && ctx.Err() == nil:
		return unconfirmedError{fmt.Errorf("%s is there; whether it is served is not known: %w", k.Name, err)}
	case err != nil:
		return fmt.Errorf("%s is there, and not known to be served yet", k.Name)
	}
	return end
}

// whyNot is what Ready says. "Pending" is what the controller would say of a key that it has not come to.
func whyNot(k *v1alpha1.ApiKey) string {
	ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return v1alpha1.ReasonPending
	}
	return ready.Reason + ": " + ready.Message
}
