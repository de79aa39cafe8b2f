// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

// Admitting returns the sessions as package admission asks for them: by what a request shows, in the organization that
// it names, and with the right that it needs there.
func (m *Manager) Admitting() admission.Sessions { return admitting{m} }

// admitting is a type of its own because Manager has a Find, too: that one says whose a token is, whatever they want.
type admitting struct{ m *Manager }

// Find returns the person in the organization that they mean. admission.ErrNoOrganization is for one that is not there,
// and alike for one in which they have not the right: whoever tries names learns nothing.
func (a admitting) Find(
	ctx context.Context, shown admission.Credentials, n admission.Need,
) (authn.Session, error) {
	p, err := a.m.Find(ctx, shown.Session)
	if err != nil {
		return nil, err // not p, which as an interface would be something
	}
	// The dashboard's pages: they are in the organization that is open, and each asks for the rights that it needs.
	if n.Resource == "" && shown.Organization == "" {
		return p, nil
	}
	err = a.m.enter(ctx, p, shown.Organization, n)
	switch {
	case err == nil:
		return p, nil
	// Before the error is looked at: the session is over, whatever it was that could not be found out.
	case p.Cluster.Refused():
		return nil, a.m.refused(ctx, p, idOf(shown.Session))
	case errors.Is(err, admission.ErrNoneChosen), errors.Is(err, admission.ErrNoOrganization):
		return nil, err
	case apierrors.IsForbidden(err): // who may not even ask
		return nil, admission.ErrNoOrganization
	}
	return nil, fmt.Errorf("%w: the cluster can't be asked: %w", admission.ErrUndecided, err)
}

// enter makes the named organization, or else the chosen one, the person's for this request, if they have the right.
// What the session has chosen stays as it is.
func (m *Manager) enter(ctx context.Context, p *Person, nameOrID string, n admission.Need) error {
	in := p.Organization
	if nameOrID != "" {
		var err error
		if in, err = m.Organization(ctx, p, nameOrID); err != nil {
			return err
		}
	}
	if in == (caller.Organization{}) {
		return admission.ErrNoneChosen
	}
	if n.Resource != "" {
		right := Right{Verb: n.Verb, Resource: n.Resource, Namespace: in.Name}
		may, err := p.Cluster.May(ctx, m.o.Clock.Now(), right)
		if err == nil && !may {
			err = admission.ErrNoOrganization
		}
		if err != nil {
			return err
		}
	}
	p.Organization = in
	return nil
}
