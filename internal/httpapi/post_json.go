// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"strconv"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// AppendJSON is what encoding/json does with p, which takes as long as all else that the API itself does for it. A
// field that is added to the shape has to be added here: a test compares the bytes of the two.
func (p *postDetail) AppendJSON(b []byte) []byte {
	b = p.appendOpen(b)
	b = append(b, `,"attempts":[`...)
	for i := range p.Attempts {
		if i > 0 {
			b = append(b, ',')
		}
		b = p.Attempts[i].AppendJSON(b)
	}
	return append(b, `]}`...)
}

// appendOpen appends the object of p, and leaves it open: as an embedded struct's, its fields come first in a
// postDetail. Only what nearly every post has is written by hand; encoding/json does the rest.
func (p *post) appendOpen(b []byte) []byte {
	b = endpoint.AppendString(append(b, `{"id":`...), p.ID)
	b = endpoint.AppendStringOrNull(append(b, `,"profileId":`...), p.ProfileID)
	b = endpoint.AppendStringOrNull(append(b, `,"accountId":`...), p.AccountID)
	b = append(b, `,"account":`...)
	if p.Account == nil {
		b = append(b, `null`...)
	} else {
		b = p.Account.AppendJSON(b)
	}
	b = endpoint.AppendString(append(b, `,"platform":`...), string(p.Platform))
	b = endpoint.AppendString(append(b, `,"status":`...), string(p.Status))
	b = endpoint.AppendString(append(b, `,"text":`...), p.Text)
	b = append(b, `,"mediaRefs":`...)
	if len(p.MediaRefs) == 0 {
		b = append(b, `[]`...)
	} else {
		b = endpoint.AppendEncoded(b, p.MediaRefs) // few posts have any, so they may take their time
	}
	b = endpoint.AppendTimeOrNull(append(b, `,"scheduledAt":`...), p.ScheduledAt)
	b = endpoint.AppendTimeOrNull(append(b, `,"publishedAt":`...), p.PublishedAt)
	b = endpoint.AppendStringOrNull(append(b, `,"platformUri":`...), p.PlatformURI)
	b = endpoint.AppendStringOrNull(append(b, `,"platformCid":`...), p.PlatformCID)
	b = append(b, `,"error":`...)
	if p.Error == nil {
		b = append(b, `null`...)
	} else {
		b = endpoint.AppendEncoded(b, p.Error) // nor do many fail
	}
	b = strconv.AppendBool(append(b, `,"sandbox":`...), p.Sandbox)
	b = endpoint.AppendTime(append(b, `,"createdAt":`...), p.CreatedAt)
	return endpoint.AppendTime(append(b, `,"updatedAt":`...), p.UpdatedAt)
}

// AppendJSON is that of an account within a post. The order is the struct's, as everywhere here.
func (a *postAccount) AppendJSON(b []byte) []byte {
	b = endpoint.AppendString(append(b, `{"id":`...), a.ID)
	b = endpoint.AppendString(append(b, `,"platform":`...), string(a.Platform))
	b = endpoint.AppendString(append(b, `,"platformAccountId":`...), a.PlatformAccountID)
	b = endpoint.AppendStringOrNull(append(b, `,"displayName":`...), a.DisplayName)
	return append(b, '}')
}

// AppendJSON is that of an attempt. A retried post may have a hundred, each with what a platform said.
func (t *attempt) AppendJSON(b []byte) []byte {
	b = endpoint.AppendString(append(b, `{"id":`...), t.ID)
	b = strconv.AppendInt(append(b, `,"attemptNumber":`...), int64(t.AttemptNumber), 10)
	b = endpoint.AppendTime(append(b, `,"startedAt":`...), t.StartedAt)
	b = endpoint.AppendTimeOrNull(append(b, `,"finishedAt":`...), t.FinishedAt)
	b = strconv.AppendBool(append(b, `,"succeeded":`...), t.Succeeded)
	b = endpoint.AppendStringOrNull(append(b, `,"errorCode":`...), t.ErrorCode)
	b = endpoint.AppendStringOrNull(append(b, `,"errorRule":`...), t.ErrorRule)
	b = endpoint.AppendStringOrNull(append(b, `,"errorMessage":`...), t.ErrorMessage)
	b = append(b, `,"platformResponse":`...)
	if t.PlatformResponse == nil {
		return append(b, `null}`...)
	}
	// Not as it stands: it is what a platform sent, and encoding/json makes it compact and valid.
	return append(endpoint.AppendEncoded(b, t.PlatformResponse), '}')
}
