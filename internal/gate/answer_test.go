// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// TestWhatNobodyHasThoughtOf: a refusal with a status and a code that are in no table keeps the request out, over
// either protocol, and does not end the process.
func TestWhatNobodyHasThoughtOf(t *testing.T) {
	a, err := newAnswers(Options{Registerer: prometheus.NewRegistry(), Audit: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	e := Envoy{Gate: &Gate{answers: a}}
	for status := range 600 {
		response := e.refuse(reply{status: status, code: "teapot"})
		if codes.Code(response.Status.Code) == codes.OK || response.GetOkResponse() != nil {
			t.Errorf("%d lets the request pass: %v", status, response)
		}
	}
	a.count(overHTTP, "teapot")
}

// TestMessagesAreJSON: a message repeats what somebody has sent, and that may be anything.
func TestMessagesAreJSON(t *testing.T) {
	for _, text := range []string{"plain", "\a", "\x00\x1f", "\xff", "\u2028", "\U000e0001", `"\`, "<&>"} {
		var got struct {
			Error struct{ Code, Message string }
		}
		body := reply{code: "c", message: text}.body()
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Errorf("%q: %v in %s", text, err, body)
		}
		if want := text; text != "\xff" && got.Error.Message != want {
			t.Errorf("%q became %q", want, got.Error.Message)
		}
	}
}
