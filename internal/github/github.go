// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package github takes what GitHub's secret scanning has found: keys that stand in public repositories. Each is
// reported as leaked, as if whoever found it had reported it themselves.
//
// GitHub calls one URL, with a list of findings that it has signed. Only what is signed by one of its published keys is
// read; to be shown the same a second time harms nobody.
//
// A call goes through github.go: how many there are at once, the headers and the size of the body, the signature, and
// only then what the body says. keys.go has the keys by which GitHub signs. What is a key by its shape goes to package
// leak, which alone decides whether there is such a key, and ends it. The path is open to everybody, so all that is
// done before the signature is checked is bounded.
package github

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// Path is where GitHub calls.
const Path = "/v1/leaked/github"

const (
	// maxBody is more than a thousand findings, with their URLs.
	maxBody = 1 << 20
	// maxFindings is how many one call may have. A longer list is refused, and nothing of it is looked at.
	maxFindings = 5000
	// maxCalls is how many calls are read at once: each holds its body, whoever sends it.
	maxCalls = 16
	// readWithin bounds how long one of them is waited for. Without it, maxCalls connections that send nothing would keep
	// GitHub out.
	readWithin = 10 * time.Second
	// maxLogged is how many findings of one call have a line in the audit log, and maxURL how long a URL may be there.
	// GitHub passes on what others have written, and one push may hold thousands of keys. All of them are counted and
	// reported.
	maxLogged, maxURL = 100, 1024
)

// Leaks take reports of keys that have leaked; *leak.Reporter is one.
type Leaks interface {
	// Report ends these keys, as far as there are such keys. An error says that it takes none at the moment.
	Report(ctx context.Context, keys ...string) error
}

// Options are what a Receiver is made of. All are required. Client is to reach nothing but public addresses, and within
// KeysBounds: it is made by package outbound.
type Options struct {
	Leaks   Leaks
	Format  key.Format
	KeysURL string       // where GitHub's keys are
	Client  *http.Client // to fetch them with, within KeysBounds
	Clock   clock.PassiveClock
	// Audit is told where each key was found.
	Audit, Logger *slog.Logger
	Registerer    prometheus.Registerer
}

// Receiver is what GitHub calls. Any number of goroutines may use it. All series of its metrics are made by New, so
// that a rate can be told from the first call on.
type Receiver struct {
	o        Options
	keys     *keys
	calls    chan struct{}  // a place for each call that is being answered
	anyKey   *regexp.Regexp // what may be a key, or a part of one, in a text
	answers  map[string]prometheus.Counter
	findings map[string]prometheus.Counter
}

// What calls and findings are counted as: all there is, since anyone can cause them.
const (
	accepted, forged, invalid, unavailable = "accepted", "forged", "invalid", "unavailable"
	reported, noKey                        = "reported", "no_key"
)

// New returns a Receiver. It fetches nothing before GitHub calls.
func New(o Options) (*Receiver, error) {
	if o.Leaks == nil || o.KeysURL == "" || o.Client == nil || o.Clock == nil || o.Audit == nil || o.Logger == nil ||
		o.Registerer == nil {
		return nil, errors.New("github: Leaks, KeysURL, Client, Clock, Audit, Logger and Registerer are required")
	}
	r := &Receiver{
		o: o, keys: &keys{url: o.KeysURL, client: o.Client}, calls: make(chan struct{}, maxCalls),
		anyKey: regexp.MustCompile( // of any length: half a key is half of the work of guessing it
			"(" + o.Format.Prefix(key.Live) + "|" + o.Format.Prefix(key.Test) + ")[0-9A-Za-z]+"),
		answers: map[string]prometheus.Counter{}, findings: map[string]prometheus.Counter{},
	}
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lmp_github_calls_total", Help: "Calls of GitHub's secret scanning, by what was answered.",
	}, []string{"answer"})
	for _, answer := range []string{accepted, forged, invalid, unavailable} {
		r.answers[answer] = answers.WithLabelValues(answer)
	}
	findings := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lmp_github_findings_total",
		Help: "What GitHub's secret scanning has found, by whether it has the shape of a key.",
	}, []string{"outcome"})
	for _, outcome := range []string{reported, noKey} {
		r.findings[outcome] = findings.WithLabelValues(outcome)
	}
	if err := o.Registerer.Register(answers); err != nil {
		return nil, err
	}
	return r, o.Registerer.Register(findings)
}

// Before answers GitHub before everything else that the API answers. It is the exact path: no other is taken away from
// the API, whose own /v1/leaked is next to it.
func (r *Receiver) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.URL.Path == Path {
			r.ServeHTTP(w, request)
			return
		}
		next.ServeHTTP(w, request)
	})
}

// finding is one of GitHub's list. Nothing of it has been looked at by GitHub but that Token matches the expression
// that it was given: the texts are others'. Names and meanings are those of GitHub's partner program.
type finding struct {
	Token  string `json:"token"`
	Type   string `json:"type"`
	URL    string `json:"url"`
	Source string `json:"source"`
}

// feedback is what GitHub is told of a finding: whether it has the shape of a key, checksum included. Nothing is said
// of whether there is such a key.
type feedback struct {
	Hash  string `json:"token_hash"` // SHA-256, of what GitHub has sent in plaintext
	Type  string `json:"token_type"`
	Label string `json:"label"`
}

// ServeHTTP answers one call. The statuses are for GitHub, and for whoever looks at its log: 403 says that GitHub has
// not signed it, 400 and 413 are for what would be no better the next time, and 503 is for all that passes, so that the
// call is worth repeating. A body is never in an answer or in a log: it holds keys.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if request.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		r.refuse(w, http.StatusMethodNotAllowed, invalid, "It is a POST.")
		return
	}
	select {
	case r.calls <- struct{}{}:
		defer func() { <-r.calls }()
	default:
		r.refuse(w, http.StatusServiceUnavailable, unavailable, "There are too many calls at once.")
		return
	}
	body, status, why := r.read(w, request)
	if why != nil {
		r.refuse(w, status, invalid, why.Error())
		return
	}
	switch err := r.verify(request, body); {
	case errors.Is(err, errForged):
		r.refuse(w, http.StatusForbidden, forged, err.Error())
		return
	case err != nil:
		r.o.Logger.Error("can't tell whether GitHub has signed what secret scanning has found", "error", err)
		r.refuse(w, http.StatusServiceUnavailable, unavailable, errNoKeys.Error())
		return
	}
	var found []finding
	if err := json.Unmarshal(body, &found); err != nil || len(found) > maxFindings {
		r.refuse(w, http.StatusBadRequest, invalid, "It is no list of findings, or a longer one than is taken.")
		return
	}
	said, err := r.take(request.Context(), found)
	if err != nil { // GitHub calls again, or whoever looks at its log does
		r.refuse(w, http.StatusServiceUnavailable, unavailable, err.Error())
		return
	}
	r.answers[accepted].Inc()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(said) // an error: GitHub has gone, and all is reported
}

// read reads a body that may be GitHub's. It is not parsed, since what is signed are its very bytes. What can't be
// GitHub's by its headers is refused before a byte of it is read. status is set with an error alone.
func (r *Receiver) read(w http.ResponseWriter, request *http.Request) (body []byte, status int, why error) {
	if request.Header.Get(headerID) == "" || request.Header.Get(headerSignature) == "" {
		return nil, http.StatusBadRequest, errors.New(headerID + " and " + headerSignature + " are missing")
	}
	if request.ContentLength > maxBody {
		return nil, http.StatusRequestEntityTooLarge, errTooLarge
	}
	// Whoever is slow keeps others out. An error: the connection has no deadlines, as in tests.
	_ = http.NewResponseController(w).SetReadDeadline(r.o.Clock.Now().Add(readWithin))
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxBody))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, http.StatusRequestEntityTooLarge, errTooLarge
	case err != nil:
		return nil, http.StatusBadRequest, errors.New("the body can't be read")
	}
	return body, 0, nil
}

var errTooLarge = errors.New("the body is larger than 1 MiB")

// The headers that GitHub signs with.
const (
	headerID        = "Github-Public-Key-Identifier"
	headerSignature = "Github-Public-Key-Signature"
)

// verify tells whether GitHub has signed a body: by ECDSA on P-256 with SHA-256. The error is errForged, or errNoKeys.
// A signature that is no base64 is found out first: for such a one, nobody is asked for keys.
func (r *Receiver) verify(request *http.Request, body []byte) error {
	signature, err := base64.StdEncoding.DecodeString(request.Header.Get(headerSignature))
	if err != nil {
		return errForged
	}
	by, err := r.keys.of(request.Context(), request.Header.Get(headerID), r.o.Clock.Now())
	if err != nil {
		return err
	}
	digest := sha256.Sum256(body)
	if !ecdsa.VerifyASN1(by, digest[:], signature) {
		return errForged
	}
	return nil
}

// take reports what is a key, and says of each finding what it is. A key that stands in many places is reported once,
// and has an answer for each. The answers are in the order of the findings. Nothing is counted or logged before the
// report is taken: GitHub is told 503 then, and a call that is repeated would be counted again. The error is that of
// Leaks, and is the same whatever the keys are.
func (r *Receiver) take(ctx context.Context, found []finding) ([]feedback, error) {
	said := make([]feedback, len(found))
	var leaked []string
	seen := map[string]bool{}
	for i, f := range found {
		sum := sha256.Sum256([]byte(f.Token))
		said[i] = feedback{hex.EncodeToString(sum[:]), f.Type, "false_positive"}
		if r.o.Format.Hint(f.Token) == "" {
			continue
		}
		said[i].Label = "true_positive"
		if !seen[f.Token] {
			seen[f.Token] = true
			leaked = append(leaked, f.Token)
		}
	}
	if len(leaked) > 0 {
		if err := r.o.Leaks.Report(ctx, leaked...); err != nil {
			return nil, err
		}
	}
	r.note(found)
	return said, nil
}

// note counts findings, and tells the audit log where they are: who was the last to see the key has to look there.
func (r *Receiver) note(found []finding) {
	logged := 0
	for _, f := range found {
		hint := r.o.Format.Hint(f.Token)
		if hint == "" {
			r.findings[noKey].Inc()
			continue
		}
		r.findings[reported].Inc()
		if logged++; logged <= maxLogged {
			r.o.Audit.Warn("GitHub has found a key", "event", "key.found", "hint", hint,
				"source", r.shown(f.Source), "url", r.shown(f.URL))
		}
	}
}

// shown is a text as the log may have it: a branch may be called like a key. Addresses name files and branches, and
// anyone who pushes chooses those names.
func (r *Receiver) shown(text string) string {
	return problem.Excerpt(r.anyKey.ReplaceAllString(text, "$1…"), maxURL)
}

// refuse answers with a text for people, and counts it. A minute is how often GitHub's keys may be asked for again.
func (r *Receiver) refuse(w http.ResponseWriter, status int, counted, why string) {
	r.answers[counted].Inc()
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "60")
	}
	http.Error(w, why, status)
}
