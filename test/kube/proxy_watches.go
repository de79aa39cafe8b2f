// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"encoding/json"
	"fmt"
	"io"
)

// sieve is the body of a watch, without the events that are swallowed.
type sieve struct {
	io.Closer
	proxy  *Proxy
	events *json.Decoder
	next   []byte // of an event that passes, what was not read yet
}

func (s *sieve) Read(b []byte) (int, error) {
	for len(s.next) == 0 {
		var event json.RawMessage
		if err := s.events.Decode(&event); err != nil {
			return 0, err
		}
		lost, err := s.proxy.swallows(event)
		if err != nil {
			return 0, err
		}
		if !lost {
			s.next = append(event, '\n')
		}
	}
	n := copy(b, s.next)
	s.next = s.next[n:]
	return n, nil
}

func (p *Proxy) swallows(event []byte) (bool, error) {
	var e struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return false, fmt.Errorf("an event of a watch: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode != Swallow || e.Type != "MODIFIED" && e.Type != "DELETED" {
		return false, nil
	}
	p.swallowed++
	return true, nil
}
