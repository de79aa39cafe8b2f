// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/test/pki"
)

// TestOIDCFlags: a call that nobody could sign in by is refused at once, and says what is missing.
func TestOIDCFlags(t *testing.T) {
	const issuer, client, url = "--oidc-issuer-url https://id.example.com", "--oidc-client-id app", "--public-url https://api.example.com"
	for args, want := range map[string]string{
		"": "", url: "", strings.Join([]string{issuer, client, url}, " "): "",
		issuer + " " + client + " --public-url http://127.0.0.1:8080": "",
		client:                "--oidc-issuer-url is required",
		"--oidc-ca-file x":    "--oidc-issuer-url is required",
		"--oidc-name x":       "--oidc-issuer-url is required",
		issuer + " " + url:    "--oidc-client-id is required",
		issuer + " " + client: "--public-url is required",
		issuer + " " + client + " --public-url http://api.example.com":        "--public-url is required",
		issuer + " " + client + " " + url + " --dashboard=false":              "--dashboard=false",
		"--oidc-issuer-url http://id.example.com " + client + " " + url:       "want the https URL",
		"--oidc-issuer-url id " + client + " " + url:                          "want the https URL",
		issuer + " " + client + " " + url + " --oidc-scopes a\\b":             "is no scope",
		issuer + " " + client + " " + url + " --oidc-scopes a,,b":             "is no scope",
		issuer + " " + client + " " + url + " --oidc-name " + longName:        "at most 60",
		issuer + " " + client + " " + url + " --oidc-client-secret-file none": "",
	} {
		_, err := parse(append([]string{"--environment", "live"}, strings.Fields(args)...), func(string) string { return "" }, io.Discard)
		if want == "" && err != nil || want != "" && (!errors.As(err, new(usageError)) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

var longName = strings.Repeat("x", 61)

// TestOIDCFiles: what is wrong with a file is told when the process starts.
func TestOIDCFiles(t *testing.T) {
	folder := t.TempDir()
	if _, err := pki.NewAuthority(folder, "ca", time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := file("secret", "s3cret\n")
	of := oidcFlags{issuer: "https://id.example.com", clientID: "app", secretFile: secret, caFile: filepath.Join(folder, "ca.crt")}
	p, err := of.provider("https://api.example.com/")
	if err != nil || p.Host() != "id.example.com" {
		t.Fatal(err)
	}
	if got, err := of.secret(); got != "s3cret" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	file("secret", "another")
	if got, _ := of.secret(); got != "another" {
		t.Errorf("%q after a change", got)
	}
	for reason, change := range map[string]func(*oidcFlags){
		"no file":         func(f *oidcFlags) { f.secretFile = folder + "/none" },
		"an empty secret": func(f *oidcFlags) { f.secretFile = file("empty", " \n") },
		"no authorities":  func(f *oidcFlags) { f.caFile = folder + "/none" },
		"no certificate":  func(f *oidcFlags) { f.caFile = secret },
	} {
		wrong := of
		change(&wrong)
		if _, err := wrong.provider("https://api.example.com"); err == nil || !strings.Contains(err.Error(), "--oidc-c") {
			t.Errorf("%s: %v", reason, err)
		}
	}
	if p, err := new(oidcFlags).provider(""); p != nil || err != nil {
		t.Errorf("without flags: %v, %v", p, err)
	}
}
