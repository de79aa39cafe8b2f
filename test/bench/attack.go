// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/retry"
)

// attackVariable is the environment variable that makes this program an attacker: it holds an attack.
const attackVariable = "LMP_BENCH_ATTACK"

// attack is what an attacker does on each of its connections, one after the other, until it is ended.
type attack struct {
	Name, Address, Key string
	Connections        int
}

// attacks are requests that want memory. The first text is sent, and of the second one byte after another: none of them
// comes to its end, and no answer is read.
func (a attack) texts() (first, rest string) {
	header := "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + a.Key +
		"\r\nContent-Type: %s\r\n%s\r\n\r\n"
	chunks := "Transfer-Encoding: chunked"
	switch a.Name {
	case "header": // no key is needed
		return "GET / HTTP/1.1\r\nHost: ", strings.Repeat("x", 1000)
	case "long header":
		return "GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 15_000), strings.Repeat("x", 100)
	case "forwarded":
		return "GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\n" +
			"X-Forwarded-For: " + strings.Repeat(",", 15_000) + "\r\n\r\n", ""
	case "part header":
		text := "--b\r\nContent-Disposition: " + strings.Repeat("x", 9<<20)
		return fmt.Sprintf(header, "/v1/media", "multipart/form-data; boundary=b", chunks) +
			fmt.Sprintf("%x\r\n%s", len(text)+1000, text), strings.Repeat("x", 1000)
	case "body":
		text := `{"targets":[{"media":[` + strings.Repeat("{},", 300_000)
		return fmt.Sprintf(header, "/v1/posts", "application/json", chunks) +
			fmt.Sprintf("%x\r\n%s", len(text)+1000, text), strings.Repeat(" ", 1000)
	default: // list
		return string(get("/v1/posts?limit=200", a.Key)), ""
	}
}

// run opens the connections, says so, and keeps them busy. One that is closed is opened again.
func (a attack) run(ctx context.Context, stdout io.Writer) error {
	opened := make(chan struct{}, a.Connections)
	for range a.Connections {
		go func() {
			first, rest := a.texts()
			for tell := opened; ctx.Err() == nil; tell = nil {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", a.Address)
				if err == nil {
					_, err = io.WriteString(conn, first)
				}
				if tell != nil {
					tell <- struct{}{}
				}
				for i := 0; err == nil && i < len(rest); i++ {
					time.Sleep(time.Second)
					_, err = io.WriteString(conn, rest[i:i+1])
				}
				time.Sleep(time.Second)
				if conn != nil {
					_ = conn.Close()
				}
			}
		}()
	}
	for range a.Connections {
		<-opened
	}
	fmt.Fprintln(stdout, "ready")
	<-ctx.Done()
	return nil
}

// beAttacker does what an order says until standard input ends, which it does with the program that gave it.
func beAttacker(ctx context.Context, order string, stdin io.Reader, stdout io.Writer) error {
	var a attack
	if err := json.Unmarshal([]byte(order), &a); err != nil {
		return fmt.Errorf("%s: %w", attackVariable, err)
	}
	ctx, end := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		end()
	}()
	return a.run(ctx, stdout)
}

// under runs do while the attack goes on, from a process of its own.
func (a attack) under(ctx context.Context, do func() error) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	order, err := json.Marshal(a)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), attackVariable+"="+string(order))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := stdout.Read(make([]byte, 6)); err != nil {
		return fmt.Errorf("the attacker: %w", err)
	}
	err = do()
	_ = stdin.Close()
	if ended := cmd.Wait(); err == nil {
		err = ended
	}
	return err
}

// benchAttacks measures what is left of an API while somebody holds connections, and what memory they make it take.
func benchAttacks(ctx context.Context, r *report) error {
	s, err := newStage(ctx, 1000)
	if err != nil {
		return err
	}
	defer s.close()
	api, err := serveOn(ctx, s.api)
	if err != nil {
		return err
	}
	defer api.stop()
	slow := attack{"header", api.address, s.plaintext, 1000}
	var ratios []float64
	for range 5 {
		without, err := api.load(ctx, whoamiPath, s.plaintext, 2*time.Second)
		if err != nil {
			return err
		}
		if err := slow.under(ctx, func() error {
			with, err := api.load(ctx, whoamiPath, s.plaintext, 2*time.Second)
			ratios = append(ratios, with/without)
			return err
		}); err != nil {
			return err
		}
	}
	r.atLeast("whoami with 1,000 slow connections / without", median(ratios), 0.9, "x",
		"the slow client on the same machine")
	return benchPeak(ctx, r, s, api)
}

// half of the memory that the chart gives a replica, in MB.
const halfOfLimit = 256

// benchPeak runs each attack on memory, and takes the peak of the process that is attacked.
func benchPeak(ctx context.Context, r *report, s *stage, api *server) error {
	if err := largePosts(ctx, s, api); err != nil {
		return err
	}
	var worst float64
	var basis []string
	for _, a := range []attack{
		{"long header", api.address, "", 2500},
		{"forwarded", api.address, "", 500},
		{"part header", api.address, s.plaintext, 100},
		{"body", api.address, s.plaintext, 300},
		{"list", api.address, s.plaintext, 300},
	} {
		debug.FreeOSMemory()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil { // the peak begins anew
			return err
		}
		if err := a.under(ctx, func() error {
			retry.Pause(ctx, 5*time.Second)
			return ctx.Err()
		}); err != nil {
			return err
		}
		peak, err := memory("self", "VmHWM")
		if err != nil {
			return err
		}
		worst = max(worst, float64(peak)/(1<<20))
		basis = append(basis, fmt.Sprintf("%s %.0f", a.Name, float64(peak)/(1<<20)))
	}
	r.atMost("memory: API's peak under attacks on it", worst, halfOfLimit, "MB", strings.Join(basis, ", "))
	return nil
}

// largePosts makes the largest posts that there may be.
func largePosts(ctx context.Context, s *stage, api *server) error {
	account, err := postJSON(ctx, api, s.plaintext, "/v1/accounts/connect/linkedin/complete", `{"identifier":"alice"}`)
	if err != nil {
		return err
	}
	// Few graphemes, and as many bytes as one request may have.
	var targets []string
	for i := range 25 {
		targets = append(targets, fmt.Sprintf(`{"accountId":%q,"text":"%d%s"}`, account, i, strings.Repeat("\u0301", 19_000)))
	}
	body := fmt.Sprintf(`{"targets":[%s],"scheduledAt":"2100-01-01T00:00:00Z"}`, strings.Join(targets, ","))
	for range 8 {
		if _, err := postJSON(ctx, api, s.plaintext, "/v1/posts", body); err != nil {
			return err
		}
	}
	return nil
}

// postJSON sends a request and returns the id in its answer.
func postJSON(ctx context.Context, api *server, plaintext, path, body string) (id string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+api.address+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+plaintext)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct{ ID string }
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("POST %s: %s %.300s", path, resp.Status, text)
	}
	if err != nil {
		return "", err
	}
	err = json.Unmarshal(text, &answer)
	return answer.ID, err
}
