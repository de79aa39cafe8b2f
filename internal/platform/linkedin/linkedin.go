// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package linkedin is LinkedIn: members connect in a browser, and posts with images go out in their name.
//
// LinkedIn lets nobody read back what a member has posted, and recognizes no post by an id of ours. What it does is to
// refuse a text that the member has just posted, and to name the post that has it. So whoever does not know what became
// of a post sends it again, the very same, and takes such an answer for the proof that the first attempt got there.
//
// oauth.go connects accounts and refreshes their tokens. publish.go is one attempt at a post, for which images.go
// uploads and littletext.go escapes. rest.go sends requests and says what an error means (judge); outcomes.go says by
// that what became of the post, and failures.go what its author is told. version.go has the version of the API that
// all of this is written for, and the day on which it ends.
package linkedin

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/retry"
)

// Name is the platform's.
const Name platform.Name = "linkedin"

// Where LinkedIn is, unless somebody says otherwise.
const (
	DefaultAuthURL = "https://www.linkedin.com"
	DefaultAPIURL  = "https://api.linkedin.com"
)

// secretRefreshEnds is when a refresh token ends. It is fixed from the first consent on: refreshing does not extend
// it. It is stored in RFC 3339.
const secretRefreshEnds = "refreshTokenEnds"

// Platform is what can be known of LinkedIn without asking it. New adds what asks it.
var Platform = platform.Platform{
	Name:  Name,
	Title: "LinkedIn",
	// By the Posts, MultiImage, Videos and Comments APIs.
	Limits: platform.Limits{
		TextGraphemes:         3000,
		FirstCommentGraphemes: 1250,
		AltTextGraphemes:      4000,
		Images:                20,
		Videos:                1,
		ImageTypes:            []string{"image/jpeg", "image/png", "image/gif"},
		VideoTypes:            []string{"video/mp4"},
		ImageBytes:            5_000_000,
		VideoBytes:            500_000_000,
	},
	// OAuth in a browser is the only way in, so there is nothing to fill in. Most apps get no refresh token.
	Secrets: []platform.SecretShape{
		{Name: platform.SecretAccessToken},
		{Name: platform.SecretRefreshToken},
		{Name: secretRefreshEnds, Public: true},
	},
}

// Config is what LinkedIn is reached by. All is required except where it says otherwise.
type Config struct {
	// ClientID and ClientSecret are those of an app that whoever runs this server has made at LinkedIn.
	ClientID, ClientSecret string
	Version                Version // zero: DefaultVersion
	// PKCE is off for LinkedIn: it refuses clients with a secret that send a code_verifier, with 401 invalid_client.
	PKCE            bool
	AuthURL, APIURL string // "": DefaultAuthURL, DefaultAPIURL
	Guard           *outbound.Guard
	Clock           clock.PassiveClock
	Logger          *slog.Logger
	// Processing is how long an attempt waits for LinkedIn to look through images. Optional: 8 s.
	Processing time.Duration
}

// Times and sizes of single requests; a post in all has the time of its context.
const (
	// An attempt has 20 s unless somebody has set something else (package publish). Of these, processing leaves it more
	// than half for the uploads and the post; docs/accounts.md has the number.
	restTime     = 30 * time.Second
	uploadTime   = time.Minute
	maxAnswer    = 1 << 20
	tokenTime    = 20 * time.Second
	processing   = 8 * time.Second
	maxAuthReply = 64 << 10
)

// service is LinkedIn's Connector, Publisher, Asker and Refresher. It may be used by any number of goroutines at
// once. The clients differ in what they wait for and read: calls, uploads, and the authorization server.
type service struct {
	Config
	oauth   oauth2.Config
	rest    *http.Client
	uploads *http.Client
	tokens  *http.Client

	// A Complaint is for one goroutine, and posts go out side by side: mu guards the two.
	mu           sync.Mutex
	near, passed retry.Complaint // about the version's sunset
}

// New returns LinkedIn with all that asks it. The error is about the addresses.
func New(c Config) (platform.Platform, error) {
	if c.Version == "" {
		c.Version = DefaultVersion
	}
	if c.AuthURL == "" {
		c.AuthURL = DefaultAuthURL
	}
	if c.APIURL == "" {
		c.APIURL = DefaultAPIURL
	}
	if c.Processing == 0 {
		c.Processing = processing
	}
	// A client's secret and members' tokens go to both.
	for _, text := range []string{c.AuthURL, c.APIURL} {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Path != "" || !c.Guard.Confidential(u) {
			return platform.Platform{}, fmt.Errorf("want the https URL of a host, such as %s, not %q", DefaultAPIURL, text)
		}
	}
	s := &service{
		Config: c,
		oauth: oauth2.Config{
			ClientID: c.ClientID, ClientSecret: c.ClientSecret, Scopes: scopes,
			Endpoint: oauth2.Endpoint{
				AuthURL: c.AuthURL + "/oauth/v2/authorization", TokenURL: c.AuthURL + "/oauth/v2/accessToken",
				// In the body, as LinkedIn wants it. To try both ways would spend a code on the first.
				AuthStyle: oauth2.AuthStyleInParams,
			},
		},
		rest:    c.Guard.Client(outbound.Bounds{Time: restTime, Bytes: maxAnswer}),
		uploads: c.Guard.Client(outbound.Bounds{Time: uploadTime, Bytes: maxAnswer}),
		tokens:  c.Guard.Client(outbound.Bounds{Time: tokenTime, Bytes: maxAuthReply}),
	}
	// A sunset that is near can wait a day. One that has come holds posts up, and is said as often as they are tried.
	s.near.Every, s.passed.Every = 24*time.Hour, time.Hour
	s.watchSunset()
	p := Platform
	p.Connector, p.Publisher, p.Asker, p.Refresher = s, s, s, s
	p.Waits = &platform.Wait{Rule: ruleSunset, Setting: c.Version.named()}
	p.Notices = s.notices
	return p, nil
}
