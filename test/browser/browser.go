// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package browser runs a real Chromium for tests of what people see. hack/browser.sh installs it.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/chromedp/cdproto"
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

// replaced is the code of Chromium's errors about a page that is not there any more, among others.
const replaced = -32000

// Read returns what a JavaScript expression is, or the promise that it gives, on the page that is in the tab of ctx.
// Where that page is not whole yet, or goes away meanwhile (a form was sent, or it loads itself again), the expression
// is evaluated again, on the one that is there then: it should only read. What it throws is an error at once.
//
// It looks for no nodes, as chromedp's Text and OuterHTML do: they fail, and now and then wait for ever, when a page
// goes away beneath them.
func Read[T any](ctx context.Context, expression string) (T, error) {
	whole := `document.readyState === "loading" ? undefined : (` + expression + `)`
	read := chromedp.Evaluate[T](whole, chromedp.EvalAwaitPromise)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got, err := chromedp.Run(ctx, read)
		var gone *cdproto.Error
		again := errors.Is(err, chromedp.ErrJSUndefined) || errors.As(err, &gone) && gone.Code == replaced
		if !again || time.Now().After(deadline) {
			return got, err
		}
	}
}

func find() (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chromium here: run hack/browser.sh first (make test does)")
}
