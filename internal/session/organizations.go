// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

const (
	// maxNamespaces is how many organizations a list has at most; others are named.
	maxNamespaces = 500
	// maxTried is how many organizations are tried for somebody who may not list namespaces: each is a request.
	maxTried = 50
)

// organizations are those that were found for one person, for as long as rights are gone by. They are a Cluster's,
// and so go with its credential.
type organizations struct {
	mu     sync.Mutex
	byName map[string]found
}

type found struct {
	organization caller.Organization
	until        time.Time
}

// Organizations returns those that a person may choose from, in the order of their names: all namespaces, if they may
// list them; else those among the ones with keys or profiles in which they may list keys. There may be more than they
// are shown (at most 500, or of 50 that are tried), which they reach by name.
func (m *Manager) Organizations(ctx context.Context, p *Person) ([]caller.Organization, error) {
	namespaces, err := p.Cluster.Namespaces(ctx, maxNamespaces)
	if apierrors.IsForbidden(err) {
		return m.tryListed(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	list := make([]caller.Organization, len(namespaces))
	for i := range namespaces {
		list[i] = caller.Organization{ID: string(namespaces[i].UID), Name: namespaces[i].Name}
	}
	return byName(list), nil
}

// tryListed asks of each organization that has keys or profiles whether the person may list its keys: what remains for
// those who may not list namespaces.
func (m *Manager) tryListed(ctx context.Context, p *Person) (list []caller.Organization, _ error) {
	known := byName(m.o.Listed())
	for _, o := range known[:min(maxTried, len(known))] {
		may, err := p.Cluster.May(ctx, m.o.Clock.Now(), Right{Verb: "list", Resource: "apikeys", Namespace: o.Name})
		if err != nil {
			return nil, err
		}
		if may {
			list = append(list, o)
		}
	}
	return list, nil
}

// byName returns them in the order of their names. Two of one name are of a namespace that was made again, and stand
// in the order of their ids.
func byName(list []caller.Organization) []caller.Organization {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b caller.Organization) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// Organization returns the one with a name or an id, as it is now. admission.ErrNoOrganization: there is none, or the
// person sees neither the namespace nor its keys.
func (m *Manager) Organization(ctx context.Context, p *Person, nameOrID string) (caller.Organization, error) {
	// The apiserver finds namespaces by their names alone: an id is one that this process has a name for.
	name, id := nameOrID, ""
	for _, o := range m.o.Listed() {
		if o.ID == nameOrID {
			name, id = o.Name, o.ID
		}
	}
	// The open one may be none of those: nobody here knows it if it has neither keys nor profiles.
	if p.Organization.ID == nameOrID {
		name, id = p.Organization.Name, p.Organization.ID
	}
	o, err := m.organization(ctx, p.Cluster, name)
	if err == nil && id != "" && o.ID != id { // the namespace was deleted, and made again
		return caller.Organization{}, admission.ErrNoOrganization
	}
	return o, err
}

// organization finds the organization of a namespace's name. Its id is the namespace's, read by the person; if they may
// not, the one that the keys and profiles there have.
func (m *Manager) organization(ctx context.Context, c *Cluster, name string) (caller.Organization, error) {
	if len(validation.IsDNS1123Label(name)) > 0 { // a name that would be another path of the apiserver's
		return caller.Organization{}, admission.ErrNoOrganization
	}
	now := m.o.Clock.Now()
	if o, ok := c.organizations.of(name, now); ok {
		return o, nil
	}
	o, err := m.organizationNow(ctx, c, name)
	if err == nil {
		c.organizations.put(o, now)
	}
	return o, err
}

// present is organization for one that was chosen. As long as keys and profiles have that id and no other, the
// namespace's is the same, and nothing is asked. Each request of a person who has chosen comes here.
func (m *Manager) present(ctx context.Context, c *Cluster, chosen caller.Organization) (caller.Organization, error) {
	now := m.o.Clock.Now()
	if o, ok := c.organizations.of(chosen.Name, now); ok {
		return o, nil
	}
	if known := m.listedAs(chosen.Name); len(known) == 1 && known[0] == chosen {
		c.organizations.put(chosen, now)
		return chosen, nil
	}
	return m.organization(ctx, c, chosen.Name)
}

// listedAs are the organizations of a name that have keys or profiles. Two of a name: the namespace was made again just
// now.
func (m *Manager) listedAs(name string) (known []caller.Organization) {
	for _, o := range m.o.Listed() {
		if o.Name == name {
			known = append(known, o)
		}
	}
	return known
}

// organizationNow asks the apiserver, as the person. Whoever may not get the namespace is told the id by which its
// keys and profiles are known here; what lies there is guarded by rights that are asked for by themselves.
func (m *Manager) organizationNow(ctx context.Context, c *Cluster, name string) (caller.Organization, error) {
	namespace, err := c.Namespace(ctx, name)
	switch {
	case err == nil:
		return caller.Organization{ID: string(namespace.UID), Name: name}, nil
	case apierrors.IsNotFound(err):
		return caller.Organization{}, admission.ErrNoOrganization
	case !apierrors.IsForbidden(err):
		return caller.Organization{}, err
	}
	known := m.listedAs(name)
	if len(known) != 1 { // nobody can say which of several it is
		return caller.Organization{}, admission.ErrNoOrganization
	}
	return known[0], nil
}

func (o *organizations) of(name string, now time.Time) (caller.Organization, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, ok := o.byName[name]
	return f.organization, ok && now.Before(f.until)
}

func (o *organizations) put(organization caller.Organization, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// Bounded as rights are. What is forgotten costs one more request.
	if o.byName == nil || len(o.byName) >= maxRights {
		o.byName = map[string]found{}
	}
	o.byName[organization.Name] = found{organization, now.Add(rightsFor)}
}
