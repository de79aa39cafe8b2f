// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Exit statuses. They are a contract: scripts go by them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitUnconfirmed = 4
	exitUnhealthy   = 5
	exitInterrupted = 130 // 128 and SIGINT, as shells have it
)

// exitStatuses is the end of the help. docs/kubectl.md has the same table, and both are to say what the constants mean.
const exitStatuses = `
Exit status:
  0    done; of a revocation: confirmed, no replica accepts the key any more
  1    it failed
  2    the command line is wrong; nothing was done
  3    the apiserver refused it: a permission, a policy or the schema
  4    asked for and not confirmed: a revocation that replicas have not confirmed in time,
       or a key that is not served yet
  5    doctor has found something wrong
  130  interrupted; say the same again to go on`

// usageError is a command line that says nothing that could be done. Exit status 2 promises that nothing was done, so
// whoever returns one has changed nothing in the cluster before. The words say which flag, and what to say instead.
type usageError struct{ error }

// usage makes a usageError. Its words name the flag first, where there is one.
func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// unconfirmedError is something that was asked for, and that nobody has confirmed. It is not a failure: what was asked
// for goes on in the cluster, and the same command line waits for it again.
type unconfirmedError struct{ error }

// unhealthyError is what doctor ends with: it has been said what is wrong.
type unhealthyError struct{ error }

// errTimeout is the cause of a context whose time is up. It is told from the end of the whole run, which is Ctrl-C: the
// one is not confirmed, the other interrupted.
var errTimeout = errors.New("the time of --timeout is up")

// exit says what went wrong, if anything did, and returns the exit status.
//
// ctx is that of the run. It is asked first, because an interrupt shows as whatever error was the next one. A verb that
// does several things joins their errors; then the first of the cases below that is among them decides.
func (p *plugin) exit(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil {
		p.tell("interrupted: %v", err)
		return exitInterrupted
	}
	p.tell("error: %v", err)
	if hint := hintOf(err); hint != "" {
		p.tell("%s", hint)
	}
	switch {
	case errors.As(err, new(usageError)):
		return exitUsage
	case errors.As(err, new(unconfirmedError)):
		return exitUnconfirmed
	case errors.As(err, new(unhealthyError)):
		return exitUnhealthy
	// The chart's policies have either as their reason, RBAC has Forbidden, and the schema Invalid.
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return exitRefused
	default:
		return exitFailed
	}
}

// hintOf says what to do about an error of the apiserver, where its own words don't. It is told after the error, on a
// line of its own; "" adds nothing.
func hintOf(err error) string {
	switch {
	case isUnserved(err):
		return "This cluster does not serve apikeys.letmepost.dev: kubectl letmepost doctor says more."
	case apierrors.IsForbidden(err):
		return "What you may do here: kubectl letmepost whoami"
	case apierrors.IsUnauthorized(err):
		return "The apiserver does not know your credential: look at kubectl config view --minify"
	default:
		return ""
	}
}

// isUnserved tells whether the apiserver does not know the resource at all, rather than one object. Both are 404. If
// the path itself is none, the answer is no Status of Kubernetes but a plain text, which client-go notes as the cause;
// whoever took it for a missing object would say that a key is gone that nobody has looked for.
func isUnserved(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
