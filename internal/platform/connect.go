// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"net/url"
	"time"
)

// Connector connects accounts of one platform. That takes two steps, because the person may have to go to the platform
// in a browser, and come back. It must be safe for use by several goroutines.
type Connector interface {
	// Begin says how the person goes on. The error is a *Failure.
	Begin(ctx context.Context, in ConnectionRequest) (Begun, error)
	// Complete tries what the person came back with. Accounts belong to whom the platform says, never to whom the caller
	// says. The error is a *Failure.
	Complete(ctx context.Context, in ConnectionAnswer) (Connection, error)
}

// ConnectionRequest is what is known when a connection begins. Whose account it will be is not part of it: a platform
// does not know of organizations and profiles.
type ConnectionRequest struct {
	// ReturnTo is where the person's browser goes in the end, as CheckReturnTo returned it; nil: the caller did not say.
	ReturnTo *url.URL
	// Method is one of the descriptors' kinds, for platforms that can be connected by both: ByCredentials, ByOAuth. "":
	// the caller did not say.
	Method string
	// Credentials are what the person has filled in already, by the names of Platform.Fields: some platforms need the
	// handle to find out where to send the browser. Nil: nothing.
	Credentials map[string]string
	// CallbackURL is where the platform is to send the browser back to: an address of this server, which the platform may
	// have to know beforehand. Nil: this server doesn't know its own address, and only credentials connect.
	CallbackURL *url.URL
	// State is what the browser is to come back with, in OAuth's parameter of that name (RFC 6749, section 10.12). Whoever
	// takes the callback has made it up at random, and checks it.
	State string
}

// Begun is a connection that has begun.
type Begun struct {
	State      ConnectionState
	Descriptor Descriptor
	// AuthorizationURL is where the person's browser goes now; nil if the descriptor asks for credentials.
	AuthorizationURL *url.URL
	// Resume is what Complete needs of Begin, such as an OAuth state and a PKCE verifier. It is a secret: whoever keeps it
	// seals it, binds it to who began, and hands it out once. Nil: nothing.
	Resume []byte
}

// ConnectionState says how far a platform lets this server connect accounts. The words are those of the reference's
// SDK: its server says "live" for the first, which is an environment here.
type ConnectionState string

// The states.
const (
	ConnectionStable  ConnectionState = "stable"  // any account
	ConnectionTrial   ConnectionState = "trial"   // those that the platform has allowed for trying it out
	ConnectionPending ConnectionState = "pending" // none until the platform has reviewed this server
)

// ConnectionAnswer is what a person came back with: credentials, or the parameters of a browser's return.
type ConnectionAnswer struct {
	Credentials map[string]string // by the names of Platform.Fields; nil: a browser came back
	Callback    url.Values        // nil: credentials were sent. Its state was checked
	CallbackURL *url.URL          // as Begin got it: a platform wants it again with the code (RFC 6749, section 4.1.3)
	Resume      []byte            // as Begin gave it; nil without a Begin
}

// Connection is an account as the platform describes it, once it has let us in.
type Connection struct {
	PlatformAccountID string
	DisplayName       string    // "": none
	TokenExpiresAt    time.Time // when only the person can renew it, by connecting again; zero: never
	RefreshAt         time.Time // when this server is to refresh its secrets; zero: never
	Secrets           Secrets   // what opens it; nil: nothing is needed
	Warnings          []Warning // what the person should know, though the account is connected
}

// Descriptor tells a client how an account is connected.
type Descriptor struct {
	Kind     string  `json:"kind" enum:"credentials,oauth"`
	HelpText string  `json:"helpText"`
	Fields   []Field `json:"fields,omitempty" doc:"What to ask the person for, if kind is credentials."`
	// AuthorizationURL is set by who serves the answer: see Begun.
	AuthorizationURL string `json:"authorizationUrl,omitempty" doc:"Where to send the person's browser, if kind is oauth; once, within ten minutes."`
}

// Kinds of descriptors, and ways to connect.
const (
	ByCredentials = "credentials" // the client asks the person for Fields
	ByOAuth       = "oauth"       // the client sends the person's browser to the platform
)

// Field is one thing to ask a person for.
type Field struct {
	Name        string `json:"name"`
	Label       string `json:"label"`
	Type        string `json:"type" enum:"text,password,url"`
	Required    bool   `json:"required"`
	Placeholder string `json:"placeholder,omitempty"`
	HelpText    string `json:"helpText,omitempty"`
	// BeforeBrowser: who connects in a browser is asked for it, too, because by it the platform finds out where to
	// send the browser. No secret is: a password is for the platform's own page.
	BeforeBrowser bool `json:"-"`
}

// Types of fields. What is of TypePassword must be among the platform's Secrets.
const (
	TypeText     = "text"
	TypePassword = "password"
	TypeURL      = "url"
)

// FieldIdentifier is the field that names the account, such as a handle. It is the one that every platform's sandbox
// asks for.
const FieldIdentifier = "identifier"

var errReturnTo = errors.New("it is not an absolute http or https URL without a user")

// CheckReturnTo parses where a browser is to go once an account is connected: an absolute http or https URL, or "", for
// which it returns nil. A user in it is refused, because it makes one host look like another
// (https://bank.example@evil.example). Whether the origin is one to send people to is for the caller to decide.
func CheckReturnTo(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errReturnTo // url.Parse's own error repeats the text, which may hold a token
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, errReturnTo
	}
	return u, nil
}
