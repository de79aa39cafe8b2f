// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import "strconv"

// appendJSON is what encoding/json does with p, which takes as long as all else that the API itself does for it.
func (p *postDetail) appendJSON(b []byte) []byte {
	b = p.appendOpen(b)
	b = append(b, `,"attempts":[`...)
	for i := range p.Attempts {
		if i > 0 {
			b = append(b, ',')
		}
		b = p.Attempts[i].appendJSON(b)
	}
	return append(b, `]}`...)
}

// appendOpen appends the object of p, and leaves it open.
func (p *post) appendOpen(b []byte) []byte {
	b = appendString(append(b, `{"id":`...), p.ID)
	b = appendStringOrNull(append(b, `,"profileId":`...), p.ProfileID)
	b = appendStringOrNull(append(b, `,"accountId":`...), p.AccountID)
	b = append(b, `,"account":`...)
	if p.Account == nil {
		b = append(b, `null`...)
	} else {
		b = p.Account.appendJSON(b)
	}
	b = appendString(append(b, `,"platform":`...), p.Platform)
	b = appendString(append(b, `,"status":`...), p.Status)
	b = appendString(append(b, `,"text":`...), p.Text)
	b = append(b, `,"mediaRefs":`...)
	if len(p.MediaRefs) == 0 {
		b = append(b, `[]`...)
	} else {
		b = appendEncoded(b, p.MediaRefs)
	}
	b = appendTimeOrNull(append(b, `,"scheduledAt":`...), p.ScheduledAt)
	b = appendTimeOrNull(append(b, `,"publishedAt":`...), p.PublishedAt)
	b = appendStringOrNull(append(b, `,"platformUri":`...), p.PlatformURI)
	b = appendStringOrNull(append(b, `,"platformCid":`...), p.PlatformCID)
	b = append(b, `,"error":`...)
	if p.Error == nil {
		b = append(b, `null`...)
	} else {
		b = appendEncoded(b, p.Error)
	}
	b = strconv.AppendBool(append(b, `,"sandbox":`...), p.Sandbox)
	b = appendTime(append(b, `,"createdAt":`...), p.CreatedAt)
	return appendTime(append(b, `,"updatedAt":`...), p.UpdatedAt)
}

func (a *postAccount) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"id":`...), a.ID)
	b = appendString(append(b, `,"platform":`...), a.Platform)
	b = appendString(append(b, `,"platformAccountId":`...), a.PlatformAccountID)
	b = appendStringOrNull(append(b, `,"displayName":`...), a.DisplayName)
	return append(b, '}')
}

func (t *attempt) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"id":`...), t.ID)
	b = strconv.AppendInt(append(b, `,"attemptNumber":`...), int64(t.AttemptNumber), 10)
	b = appendTime(append(b, `,"startedAt":`...), t.StartedAt)
	b = appendTimeOrNull(append(b, `,"finishedAt":`...), t.FinishedAt)
	b = strconv.AppendBool(append(b, `,"succeeded":`...), t.Succeeded)
	b = appendStringOrNull(append(b, `,"errorCode":`...), t.ErrorCode)
	b = appendStringOrNull(append(b, `,"errorMessage":`...), t.ErrorMessage)
	b = append(b, `,"platformResponse":`...)
	if t.PlatformResponse == nil {
		return append(b, `null}`...)
	}
	return append(appendEncoded(b, t.PlatformResponse), '}')
}
