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

// usageError is a command line that says nothing that could be done.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// unconfirmedError is something that was asked for, and that nobody has confirmed.
type unconfirmedError struct{ error }

// unhealthyError is what doctor ends with: it has been said what is wrong.
type unhealthyError struct{ error }

// errTimeout is the cause of a context whose time is up.
var errTimeout = errors.New("the time of --timeout is up")

// exit says what went wrong, if anything did, and returns the exit status.
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
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return exitRefused
	default:
		return exitFailed
	}
}

// hintOf says what to do about an error of the apiserver, where its own words don't.
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

// isUnserved tells whether the apiserver does not know the resource at all, rather than one object.
func isUnserved(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
