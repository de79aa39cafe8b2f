// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// benchUpload measures what a large upload takes of memory, in this process, which is client and server, and what a
// limit costs each request.
func benchUpload(ctx context.Context, r *report) error {
	s, err := newStage(ctx, 1)
	if err != nil {
		return err
	}
	defer s.close()
	api, err := serveOn(ctx, s.api)
	if err != nil {
		return err
	}
	defer api.stop()
	const size = 100 << 20
	if err := upload(ctx, s, api, 1<<20); err != nil { // what is made once is made
		return err
	}
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil { // the peak begins anew
		return err
	}
	idle, err := memory("self", "VmRSS")
	if err != nil {
		return err
	}
	began := time.Now()
	if err := upload(ctx, s, api, size); err != nil {
		return err
	}
	took := time.Since(began)
	peak, err := memory("self", "VmHWM")
	if err != nil {
		return err
	}
	r.atMost("upload of 100 MB: peak memory above idle", float64(peak-idle)/(1<<20), 32, "MB",
		fmt.Sprintf("client and server; %.0f MB/s", float64(size>>20)/took.Seconds()))
	benchLimit(r, s.caller)
	return nil
}

// upload sends a video of so many bytes: a header, and nothing.
func upload(ctx context.Context, s *stage, api *server, size int64) error {
	body, form := io.Pipe()
	parts := multipart.NewWriter(form)
	go func() {
		file, err := parts.CreateFormFile("file", "video.mp4")
		if err == nil {
			header := "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
			_, err = io.Copy(file, io.MultiReader(strings.NewReader(header), io.LimitReader(zeros{}, size)))
		}
		if err == nil {
			err = parts.Close()
		}
		form.CloseWithError(err)
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+api.address+"/v1/media", body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.plaintext)
	req.Header.Set("Content-Type", parts.FormDataContentType())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusCreated {
		answer, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("POST /v1/media: %s %s", resp.Status, answer)
	}
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// benchLimit measures the check of a key's rate.
func benchLimit(r *report, who *caller.Caller) {
	own, now := rate.Rate{Requests: 1_000_000, Window: time.Second}, time.Now()
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			now = now.Add(time.Microsecond)
			if !who.Meter.Take(own, now).Allowed {
				b.Fatal("refused at its own rate")
			}
		}
	})
	perCheck := float64(result.T.Nanoseconds()) / float64(result.N)
	r.atMost("check of a key's rate", perCheck, 50, "ns", fmt.Sprintf("%d allocations", result.AllocsPerOp()))
	r.atMost("check of a key's rate: allocations", float64(result.AllocsPerOp()), 0, "", "")
}
