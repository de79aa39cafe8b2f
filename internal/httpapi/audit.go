// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"errors"

	"github.com/letmepost/letmepost-operator/internal/authn"
)

// Classes of refusals beside those of package authn: the key is good, and may not do this.
const (
	refusedScope   = "insufficient_scope"
	refusedKeyWork = "key_management"
)

// refusalClasses are all that refusalOf returns.
func refusalClasses() []string {
	classes := []string{refusedScope, refusedKeyWork}
	for _, refusal := range authn.Refusals {
		classes = append(classes, string(refusal))
	}
	return classes
}

// refusalOf returns the class of a refusal, "" if err is none: that nobody was recognised, or somebody who lacks the
// right. A panic on the way is a mistake of ours, whatever else it was.
func refusalOf(err error) string {
	if err == nil || errors.As(err, new(*panicError)) {
		return ""
	}
	var refusal authn.Refusal
	var p *problem
	switch {
	case errors.As(err, &refusal):
		return string(refusal)
	case errors.Is(err, errKeysCannotManageKeys):
		return refusedKeyWork
	case errors.As(err, &p) && p.rule == ruleScope:
		return refusedScope
	}
	return ""
}
