// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tokenreview_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	testclock "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/tokenreview"
)

// TestAnswers: what an apiserver may say of a token. One whose authenticator knows of no audiences, as webhooks may,
// lets a token for anybody pass and says no audience: the apiserver is played, as the real one of the tests has none.
func TestAnswers(t *testing.T) {
	const account = "system:serviceaccount:acme:service"
	for _, c := range []struct {
		reason        string
		authenticated bool
		username      string
		audiences     []string
		good          bool
	}{
		{"good", true, account, []string{tokenreview.Audience}, true},
		{"for two", true, account, []string{"another", tokenreview.Audience}, true},
		{"whose audience nobody has looked at", true, account, nil, false},
		{"for another", true, account, []string{"another"}, false},
		{"that nobody has authenticated", false, account, []string{tokenreview.Audience}, false},
		{"of a person", true, "alice", []string{tokenreview.Audience}, false},
	} {
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(authenticationv1.TokenReview{
				TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"},
				Status: authenticationv1.TokenReviewStatus{
					Authenticated: c.authenticated, Audiences: c.audiences, User: authenticationv1.UserInfo{Username: c.username},
				},
			})
		}))
		t.Cleanup(api.Close)
		clock := testclock.NewFakePassiveClock(time.Now())
		r, err := tokenreview.New(tokenreview.Options{
			Config: &rest.Config{Host: api.URL}, Audience: tokenreview.Audience, Clock: clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Review(t.Context(), unsigned("acme", tokenreview.Audience, clock.Now().Add(time.Hour)))
		if (err == nil) != c.good || !c.good && !errors.Is(err, tokenreview.ErrUnauthenticated) {
			t.Errorf("%s: %v, %v", c.reason, got, err)
		}
	}
}
