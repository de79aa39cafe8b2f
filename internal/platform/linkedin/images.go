// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/retry"
)

// uploadsAtOnce is how many images of one post are uploaded at a time: twenty have to fit into one attempt.
const uploadsAtOnce = 4

// upload uploads the images of a post, and waits until LinkedIn has looked through them: a post that comes earlier may
// be refused. It returns their URNs. The error is call's, putOf's or an ended; notUploaded makes the outcome of it.
// The first that fails stops the others, since a post goes out with all its images or not at all.
func (d *delivery) upload(ctx context.Context) ([]string, error) {
	urns := make([]string, len(d.Content.Media))
	some, stop := errgroup.WithContext(ctx)
	some.SetLimit(uploadsAtOnce)
	for i, m := range d.Content.Media {
		some.Go(func() (err error) {
			urns[i], err = d.uploadOne(stop, m)
			return err
		})
	}
	if err := some.Wait(); err != nil {
		return nil, err
	}
	// All are sent before the first is looked at: LinkedIn processes them by itself, and the first ones meanwhile.
	within, cancel := context.WithTimeout(ctx, d.Processing)
	defer cancel()
	all, looked := errgroup.WithContext(within)
	// Without a limit, unlike the uploads: a look is a small request, and they all wait for the same few seconds.
	for i, urn := range urns {
		all.Go(func() error { return d.processed(looked, urn, i+1) })
	}
	return urns, all.Wait()
}

// uploadOne asks for where to upload to, and does. The address is LinkedIn's choice, and no path of the API: what is
// sent there has the token, and no version.
func (d *delivery) uploadOne(ctx context.Context, m platform.Media) (string, error) {
	var to struct {
		Value struct {
			UploadURL string `json:"uploadUrl"`
			Image     string
		}
	}
	_, err := d.call(ctx, call{path: "/rest/images?action=initializeUpload", in: map[string]any{
		"initializeUploadRequest": map[string]string{"owner": d.To.PlatformAccountID},
	}}, &to)
	if err != nil {
		return "", err
	}
	at, err := url.Parse(to.Value.UploadURL)
	// The account's token goes there.
	if err != nil || to.Value.Image == "" || !d.Guard.Confidential(at) {
		return "", &serverError{sent: true, cause: errors.New("LinkedIn gave no address to upload an image to")}
	}
	_, err = d.byToken(ctx, func(token string) (http.Header, error) {
		return d.send(ctx, d.uploads, func(ctx context.Context) (*http.Request, error) {
			return putOf(ctx, m, at, token)
		}, nil)
	})
	return to.Value.Image, err
}

// putOf is the request that uploads a medium. It is made anew where the token had to be renewed: the medium's bytes
// can be read once. The HTTP client closes it, so it is opened last: what fails before leaves nothing open.
func putOf(ctx context.Context, m platform.Media, to *url.URL, token string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), nil)
	if err != nil {
		return nil, err
	}
	bytes, err := m.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open medium %s: %w", m.ID, err)
	}
	// net/http does not know the length of what is in no buffer of its own, and would send it in chunks.
	req.Body, req.ContentLength = bytes, m.SizeBytes
	req.Header.Set("Content-Type", m.ContentType)
	req.Header.Set("Authorization", "Bearer "+token)
	return req, nil
}

// looking is the pauses between looks at an image that is being processed.
var looking = retry.Backoff{First: 250 * time.Millisecond, Most: 2 * time.Second}

var errProcessing = errors.New("LinkedIn is still processing an image")

// processed waits until an image can be posted. number is its place in the post, from 1. ctx ends with d.Processing,
// which all images share.
func (d *delivery) processed(ctx context.Context, urn string, number int) error {
	err := looking.Until(ctx, func(ctx context.Context) error {
		var image struct{ Status string }
		_, err := d.call(ctx, call{path: "/rest/images/" + url.QueryEscape(urn)}, &image)
		switch {
		case judge(err) == forbidden: // apps may upload images, and some may not look at them
			return nil
		case err != nil:
			return err
		case image.Status == "AVAILABLE":
			return nil
		case image.Status == "PROCESSING_FAILED":
			return rejected(&platform.Failure{
				Code: platform.CodeRejected, Rule: ruleImage,
				Message:     fmt.Sprintf("LinkedIn can't read medium %d.", number),
				Remediation: "Save the image anew, as JPEG or PNG, and publish the post again.",
			})
		}
		return errProcessing
	}, func(err error) bool { return errors.Is(err, errProcessing) })
	if errors.Is(err, context.DeadlineExceeded) {
		// The next attempt uploads all of them anew: URNs are only kept of a post that may be there (unknown).
		return d.notTaken(&platform.Failure{
			Code: platform.CodeUnavailable, Rule: ruleImage,
			Message:     fmt.Sprintf("LinkedIn takes long to process medium %d. The post was not sent.", number),
			Remediation: "Nothing: it is tried again by itself.",
		}, d.Clock.Now().Add(soon))
	}
	return err
}
