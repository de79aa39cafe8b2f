// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// storage is the flags of what the publishing API stands on, as they are after check.
type storage struct {
	dataDir      string // "": the database is not in it; package media makes the folder of media, with the same mode
	databaseURL  string
	mediaURL     string
	maxMediaSize int64 // bytes
	// maxBytesInFlight is no storage, but a size like that one.
	maxBytesInFlight int64
	redisURL         string
	publicURL        string
	keyRate          rate.Rate // zero: unlimited
	failureRate      rate.Rate
	trustedProxies   []netip.Prefix

	given struct { // as texts
		dataDir, maxMediaSize, maxBytesInFlight, keyRate, failureRate string
		trustedProxies                                                []string
	}
}

// defaultDataDir is the place of a service's own state (FHS 3.0, section 5.8). The chart mounts its
// volume there.
const defaultDataDir = "/var/lib/letmepost"

// addFlags adds the flags. With none of them given, the process needs nothing but a folder: SQLite, files, and rates in
// its own memory. That is enough for one replica, and for somebody who tries letmepost out.
func (s *storage) addFlags(flags *pflag.FlagSet) {
	s.addDatabaseFlags(flags)
	// S3's credentials come from where the AWS SDK looks for them, and so not from the URL.
	flags.StringVar(&s.mediaURL, "media-url", "",
		"Where media are: a folder that all replicas share (file:///…) or a bucket (s3://NAME?region=…&endpoint=…). "+
			"Default: a folder in --data-dir.")
	flags.StringVar(&s.given.maxMediaSize, "max-media-size", mebibytes(media.DefaultMaxSize),
		"Size above which a media file is refused.")
	flags.StringVar(&s.given.maxBytesInFlight, "max-bytes-in-flight", mebibytes(endpoint.DefaultBytesInFlight),
		"Memory that running requests may hold for their bodies and answers, together; those of one organization, half. "+
			"Beyond it, requests get 503, and those of the organization 429.")
	flags.StringVar(&s.redisURL, "redis-url", "",
		"Redis or Valkey, redis://… or rediss://…, that makes the rate limits of keys exact across replicas. "+
			"Default: $LMP_REDIS_URL; without it, each replica limits by itself.")
	flags.StringVar(&s.given.keyRate, "default-rate-limit", rate.DefaultText,
		"Rate of keys that have none of their own and whose Profile has none: REQUESTS/WINDOW, or none.")
	flags.StringVar(&s.given.failureRate, "failed-auth-limit", rate.DefaultText,
		"Rate at which one client address may send requests without a valid key until it gets 429: "+
			"REQUESTS/WINDOW, or none.")
	// Nobody is trusted by default: X-Forwarded-For of a stranger would let them choose the address that is limited.
	flags.StringSliceVar(&s.given.trustedProxies, "trusted-proxies", nil,
		"Networks (CIDR) of proxies whose X-Forwarded-For is believed. "+
			"Without any, the client is the peer of the connection.")
	flags.StringVar(&s.publicURL, "public-url", "",
		"Where callers reach this API, for URLs in its answers. Default: the host that they ask for, "+
			"with https:// if this process serves TLS and http:// if not.")
}

// addDatabaseFlags adds those by which the database is found.
func (s *storage) addDatabaseFlags(flags *pflag.FlagSet) {
	flags.StringVar(&s.given.dataDir, "data-dir", defaultDataDir,
		"Folder of the database and the media, unless --database-url and --media-url say otherwise. "+
			"It is made if it is missing.")
	// The URLs of the database and of Redis hold passwords, so the environment can give them: other users of the machine
	// see the command line of a process, but not its environment.
	flags.StringVar(&s.databaseURL, "database-url", "",
		"Database: sqlite:FILE, for replicas on one machine, or postgres://…, with pool_max_conns=N (16) for the most "+
			"connections of a replica. Default: $LMP_DATABASE_URL, which does not show in the list of processes; "+
			"without it, a SQLite file in --data-dir.")
}

// mebibytes is how --max-media-size has a size: as Kubernetes writes quantities.
func mebibytes(size int64) string { return resource.NewQuantity(size, resource.BinarySI).String() }

// check takes the flags in, for an environment. The error is a usageError.
func (s *storage) check(environment key.Environment, getenv func(string) string) (err error) {
	if err := s.checkURLs(environment, getenv); err != nil {
		return err
	}
	// A fraction of a byte is rounded up by Value, and "0" is refused: it would not mean "no limit" to anything below.
	size, err := resource.ParseQuantity(s.given.maxMediaSize)
	if s.maxMediaSize = size.Value(); err != nil || s.maxMediaSize < 1 || s.maxMediaSize > media.HighestMaxSize {
		return usageError{fmt.Sprintf("--max-media-size: want bytes, such as %s, up to %s, not %q",
			mebibytes(media.DefaultMaxSize), mebibytes(media.HighestMaxSize), s.given.maxMediaSize)}
	}
	// One body of the largest size has to fit into an organization's half.
	room, err := resource.ParseQuantity(s.given.maxBytesInFlight)
	if s.maxBytesInFlight = room.Value(); err != nil || s.maxBytesInFlight < 8<<20 {
		return usageError{fmt.Sprintf("--max-bytes-in-flight: want bytes, such as %s, at least 8Mi, not %q",
			mebibytes(endpoint.DefaultBytesInFlight), s.given.maxBytesInFlight)}
	}
	if s.keyRate, err = rate.Parse(s.given.keyRate); err != nil {
		return usageError{"--default-rate-limit: " + err.Error()}
	}
	if s.failureRate, err = rate.Parse(s.given.failureRate); err != nil {
		return usageError{"--failed-auth-limit: " + err.Error()}
	}
	// A single address is refused as well: it is not clear whether /32 or the network around it was meant.
	for _, text := range s.given.trustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return usageError{fmt.Sprintf("--trusted-proxies: want networks such as 10.0.0.0/8, not %q", text)}
		}
		s.trustedProxies = append(s.trustedProxies, prefix)
	}
	return nil
}

// checkURLs completes the URLs: a flag, else the environment, else a place in --data-dir. What is in that folder has
// the environment in its name, so that two processes on one machine, one for live and one for test, can share the
// folder.
//
// The URLs themselves are left to those who connect by them, who must not repeat their passwords in an error.
func (s *storage) checkURLs(environment key.Environment, getenv func(string) string) error {
	// First, because it makes --data-dir absolute: in a file URL, the first folder of a relative path would be read as a
	// host, whose files can't be opened.
	if err := s.checkDatabase(environment, getenv); err != nil {
		return err
	}
	if s.redisURL == "" {
		s.redisURL = getenv("LMP_REDIS_URL")
	}
	// Media have no variable of the environment: their URL holds no password.
	if s.mediaURL == "" {
		s.mediaURL = (&url.URL{Scheme: "file", Path: filepath.Join(s.given.dataDir, "media-"+string(environment))}).String()
	}
	if u, err := url.Parse(s.publicURL); s.publicURL != "" &&
		(err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		return usageError{fmt.Sprintf("--public-url: want an http or https URL, not %q", s.publicURL)}
	}
	return nil
}

// checkDatabase completes the URL of the database.
func (s *storage) checkDatabase(environment key.Environment, getenv func(string) string) error {
	if s.databaseURL == "" {
		s.databaseURL = getenv("LMP_DATABASE_URL")
	}
	// Also where the database is somewhere else: the media are in that folder then, if no --media-url says otherwise.
	dir, err := filepath.Abs(s.given.dataDir)
	if err != nil || s.given.dataDir == "" {
		return usageError{fmt.Sprintf("--data-dir: want a folder, not %q", s.given.dataDir)}
	}
	s.given.dataDir = dir
	if s.databaseURL == "" {
		s.dataDir = dir
		s.databaseURL = "sqlite:" + filepath.Join(dir, string(environment)+".db")
	}
	return nil
}
