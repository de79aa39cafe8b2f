// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package browser runs a real Chromium for tests of what people see. hack/browser.sh installs it.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/chromedp/chromedp"
)

// Browser is a Chromium that runs.
type Browser struct {
	context context.Context
	stop    []context.CancelFunc
}

// names are what distributions call it.
var names = []string{"chromium", "chromium-browser", "google-chrome"}

// Start starts a browser with a profile of its own, which knows nothing and is thrown away.
func Start(ctx context.Context, more ...chromedp.ExecAllocatorOption) (*Browser, error) {
	path, err := find()
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.NoSandbox, // it may run as root, and in a container; it is shown nothing but tests' own pages
		chromedp.DisableGPU,
	)
	options = append(options, more...)
	process, stopProcess := chromedp.NewExecAllocator(ctx, options...)
	first, stopFirst := chromedp.NewContext(process)
	b := &Browser{context: first, stop: []context.CancelFunc{stopFirst, stopProcess}}
	if err := chromedp.Do(first); err != nil {
		b.Stop()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return b, nil
}

// Stop ends the browser.
func (b *Browser) Stop() {
	for _, stop := range b.stop {
		stop()
	}
}

// Person is somebody who was not here before: a tab without the cookies of others. What chromedp does with the
// context is done by them; stop ends it.
func (b *Browser) Person() (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = chromedp.NewContext(b.context, chromedp.WithNewBrowserContext())
	// The tab ends with the context of what is done first in it: if that has a deadline, all that comes later waits for
	// ever. So the first thing is nothing, in the tab's own context. An error of it comes again with what is done next.
	_ = chromedp.Do(ctx)
	return ctx, stop
}

func find() (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chromium here: run hack/browser.sh first (make test does)")
}
