// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/vault"
)

// sealings is how many are measured at a time: some milliseconds.
const sealings = 2000

// benchVault measures how long it takes to seal a token and open it again, beside bare AES-GCM of the standard library
// with as many random bytes.
func benchVault(ctx context.Context, r *report) error {
	keyset, err := vault.NewKeyset()
	if err != nil {
		return err
	}
	v := vault.Fixed(keyset)
	token := bytes.Repeat([]byte("t"), 400) // about as long as LinkedIn's
	of := vault.Of{
		Organization: "0b5c6c0e-8a5f-4f0e-9d5c-3d0f2f3a1b2c",
		Account:      "0199b1f0-7c1a-7d3e-8f7b-2f1f0a9b8c7d",
		Name:         "accessToken",
	}
	sealed := func() error {
		text, err := v.Seal(token, of)
		if err == nil {
			_, err = v.Open(text, of)
		}
		return err
	}
	bare, err := bareSealing(token, []byte(of.Organization+of.Account+of.Name))
	if err != nil {
		return err
	}
	var ours, theirs, ratios []float64
	for range 5 * rounds {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		without, err := microseconds(bare)
		if err != nil {
			return err
		}
		with, err := microseconds(sealed)
		if err != nil {
			return err
		}
		ours, theirs, ratios = append(ours, with), append(theirs, without), append(ratios, with/without)
	}
	r.atMost("vault: seal and open a token", median(ours), 5, "us", fmt.Sprintf("%d bytes", len(token)))
	r.plain("vault: seal and open / bare AES-GCM", median(ratios), "x",
		fmt.Sprintf("bare: %.2f us, with a random nonce each", median(theirs)))
	return nil
}

// bareSealing is what any use of AES-256-GCM with a random nonce has to do.
func bareSealing(token, associated []byte) (func() error, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return func() error {
		nonce := make([]byte, gcm.NonceSize())
		if _, err := rand.Read(nonce); err != nil {
			return err
		}
		_, err := gcm.Open(nil, nonce, gcm.Seal(nil, nonce, token, associated), associated)
		return err
	}, nil
}

// microseconds returns how long do takes.
func microseconds(do func() error) (float64, error) {
	began := time.Now()
	for range sealings {
		if err := do(); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(began).Nanoseconds()) / sealings / 1000, nil
}
