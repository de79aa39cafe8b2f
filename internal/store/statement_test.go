// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEveryStatementOfAViewIsScoped walks all of them, those that depend on a filter included.
func TestEveryStatementOfAViewIsScoped(t *testing.T) {
	first, after := filtered(` AND p.status IN (?)`)
	all := append(slices.Clone(allScoped), first, after)
	if len(all) < 20 {
		t.Fatalf("only %d statements", len(all))
	}
	// A finger's width of what PostgreSQL's texts must have: the scope's parameters, where bind puts them.
	condition := regexp.MustCompile(`organization_id = \$\d+ AND (\w+\.)?environment = \$\d+`)
	for _, s := range all {
		for e, texts := range s.texts {
			for p, text := range texts {
				switch {
				case s.kind == "owner":
					if !strings.HasPrefix(text, "INSERT INTO ") {
						t.Errorf("only a new row has its owner as a value: %s", text)
					}
				case e == 1 && !condition.MatchString(text):
					t.Errorf("no scope in: %s", text)
				case s.kind == "scope" && p == 1 && !strings.Contains(text, "profile_id = "):
					t.Errorf("no profile in: %s", text)
				}
				if strings.ContainsAny(text, "{}") {
					t.Errorf("a marker is left in: %s", text)
				}
			}
		}
	}
}

// narrower holds every statement of a View that is not held by {scope}, with the reason why it may be: the profile of a
// pinned key is not in its conditions, so something else has to keep it to what the view reaches. Whoever adds one
// argues for it here.
var narrower = map[*scoped]struct{ kind, reason string }{
	usesElsewhere: {"organization", "posts of other profiles may use a medium of a profile: it must not be deleted under them. " +
		"Nothing is told of them: who deletes the medium is answered as if nobody used it, and it passes to the organization"},
	usageOfView: {"organization", "quotas, and turns in the queue, are of organizations, and not of profiles. " +
		"Callers who are confined to one are not told the number: QuotaError"},
	mediaOfOwnPost: {"organization", "a post was made with media that its key reached, perhaps one of the whole organization. " +
		"The post is one that lock has found in the view's profile, and it's only asked how many of its media are left"},

	putAccount: {"owner", "PutAccount has asked includes about the profile, and a conflict is with an account of that very profile"},
	addMedia:   {"owner", "AddMedia has asked includes about the profile"},
	addPost:    {"owner", "lockNeeded has asked includes about the profile, and found account and media in the view"},
	addClaim:   {"owner", "a claim is of the view's own key, whose id is a value of it"},
	addBegun:   {"owner", "as addClaim"},

	deleteSecrets: {"organization", "PutAccount or lockAccount has found the account in the view's profile, and holds it"},
	addSecret:     {"owner", "as deleteSecrets"},

	tooManyDisconnected: {"organization", "a bound of the whole organization's: the oldest make room, whosever they are. " +
		"Nobody is told which; they open nothing, and an account that is connected is not among them"},
	forgetDisconnected: {"organization", "of what tooManyDisconnected has found"},

	countConnecting: {"organization", "a bound of the whole organization's, of which only that it is reached is told"},
	addConnecting:   {"owner", "what it leads to is asked again when the browser is back, by whoever calls Return of package connecting"},

	lastUses:   {"organization", "keys are the index's, which knows the caller's: package use shows no other key's use"},
	lastUsesOf: {"organization", "as lastUses"},
	periodsOf:  {"organization", "as lastUses"},
	recentUse:  {"organization", "as lastUses"},

	lockClaim:          {"actor", "a claim is of one key, which is less than a profile"},
	readClaim:          {"actor", "as lockClaim"},
	peekClaim:          {"actor", "as lockClaim"},
	takeClaim:          {"actor", "as lockClaim"},
	beginClaim:         {"actor", "as lockClaim"},
	settleClaim:        {"actor", "as lockClaim"},
	deleteUnbegunClaim: {"actor", "as lockClaim"},
	disownClaim:        {"actor", "as lockClaim"},
	undoBegin:          {"actor", "as lockClaim"},
}

// TestWhatHasNoProfileHasAReason: a statement that forgets the profile of a pinned key would pass every other test
// here.
func TestWhatHasNoProfileHasAReason(t *testing.T) {
	for _, s := range allScoped {
		switch why, listed := narrower[s]; {
		case s.kind == "scope" && listed:
			t.Errorf("has a scope, and needs no reason: %s", s.texts[0][0])
		case s.kind != "scope" && why.kind != s.kind:
			t.Errorf("{%s} without a reason in this list: %s", s.kind, s.texts[0][0])
		}
	}
	for s, why := range narrower {
		if !slices.Contains(allScoped, s) {
			t.Errorf("no statement of a view: %s", s.texts[0][0])
		}
		if why.kind == "actor" && regexp.MustCompile(`(?i)\b(FROM|JOIN|INTO|UPDATE)\s+(posts|accounts|media|attempts|post_media)\b`).MatchString(s.texts[0][0]) {
			t.Errorf("{actor} is for claims alone: %s", s.texts[0][0])
		}
	}
}

func TestAStatementWithoutAScopeIsNotOne(t *testing.T) {
	for reason, text := range map[string]string{
		"none": "SELECT id FROM posts WHERE id = ?", "two": "SELECT 1 FROM posts WHERE {scope} OR {scope}",
		"unknown": "SELECT 1 FROM posts WHERE {scope} {nonsense}",
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: taken", reason)
				}
			}()
			newScoped(text)
		}()
	}
}

func TestBindPutsArgumentsInTheirPlaces(t *testing.T) {
	r := scope{organization: "o", environment: "live", actor: "k"}
	pinned := r
	pinned.profile = "p"
	for _, tc := range []struct {
		reason, text string
		scope        scope
		want         string
		args         []any
	}{
		{"all profiles", "a = ? AND {scope} AND b = ?", r, "a = $1 AND organization_id = $2 AND environment = $3 AND b = $4", []any{1, "o", "live", 2}},
		{"one profile", "a = ? AND {scope x} AND b = ?", pinned, "a = $1 AND x.organization_id = $2 AND x.environment = $3 AND x.profile_id = $4 AND b = $5", []any{1, "o", "live", "p", 2}},
		{"organization", "{organization} AND a = ? AND b = ?", pinned, "organization_id = $1 AND environment = $2 AND a = $3 AND b = $4", []any{"o", "live", 1, 2}},
		{"actor", "a = ? AND b = ? AND {actor}", pinned, "a = $1 AND b = $2 AND organization_id = $3 AND environment = $4 AND key_id = $5", []any{1, 2, "o", "live", "k"}},
		{"owner", "VALUES ({owner}, ?, ?)", pinned, "VALUES ($1, $2, $3, $4)", []any{"o", "live", 1, 2}},
	} {
		text, args := newScoped(tc.text).bind(PostgreSQL, tc.scope, []any{1, 2})
		if text != tc.want || !cmp.Equal(args, tc.args) {
			t.Errorf("%s: %s, %v", tc.reason, text, args)
		}
	}
}

// TestWhatHasNoCaller lists the ways to the database that are filtered by nobody's reach. Whoever adds one adds it
// here, on purpose.
func TestWhatHasNoCaller(t *testing.T) {
	want := []string{
		"DB.Attach", "DB.Close", "DB.Migrated", "DB.QueueDriver", "DB.Run", "DB.View", "DB.Work", "DB.Writable",
		"Work.AddSession", "Work.AddUse", "Work.BeginRenewal", "Work.BeginSessionRenewal", "Work.CancelQueuedBy",
		"Work.ChooseOrganization", "Work.Connection", "Work.CountConnections", "Work.CountOverdue", "Work.CountSweep", "Work.DueRenewals",
		"Work.EndRenewal", "Work.EndSession", "Work.EndSessionRenewal", "Work.Finish", "Work.FoldUse",
		"Work.ForgetUse", "Work.HasPending", "Work.LastUses", "Work.MeasureUsage", "Work.MediaOf", "Work.Overdue",
		"Work.PostponeRenewal", "Work.PostponeSessionRenewal", "Work.Purge", "Work.Ready", "Work.Recount", "Work.Release", "Work.Remember", "Work.RequireReconnect", "Work.Reseal",
		"Work.SealedBy", "Work.SealedByOthers", "Work.Session", "Work.SettleLost", "Work.Stamp", "Work.Start",
		"Work.StartLook", "Work.TakeConnecting", "Work.TakeSession", "Work.Unreferenced", "Work.UseSession", "Work.VaultKeys",
	}
	var got []string
	for _, kind := range []reflect.Type{reflect.TypeFor[*DB](), reflect.TypeFor[*Work]()} {
		for i := range kind.NumMethod() {
			got = append(got, kind.Elem().Name()+"."+kind.Method(i).Name)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
