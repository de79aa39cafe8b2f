// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package model checks the revocation protocol exhaustively, with spin, and holds the model and the code together.
package model_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The models: of the protocol, of how what is scarce in it is shared out, of keys that have leaked, and of what a
// deleted key has queued.
const (
	model        = "revocation.pml"
	turnsModel   = "turns.pml"
	leaksModel   = "leaks.pml"
	cancelsModel = "cancels.pml"
)

// check is one run of spin's verifier.
type check struct {
	model   string
	defines []string // of the model
	cc      []string // of the verifier
	flags   []string // of its run
}

// Partial order reduction finds nothing to reduce where everybody looks at everything: NOREDUCE saves the search for
// it. The hash tables fit the state spaces, so that the search is fast; spin grows nothing and drops nothing.
func safety(defines ...string) check {
	return check{model, defines, []string{"-DSAFETY", "-DNOREDUCE"}, []string{"-m200000", "-w25"}}
}

// shortest finds the shortest violation there is.
func shortest(defines ...string) check {
	return check{model, append(defines, "-DALONE"), []string{"-DSAFETY", "-DNOREDUCE", "-DBFS"}, []string{"-w20"}}
}

func liveness(defines ...string) check {
	return check{model, append(defines, "-DLIVENESS"), []string{"-DNOREDUCE", "-DNFAIR=4"}, []string{"-a", "-f", "-m200000", "-w24"}}
}

// turns is of so many organizations.
func turns(organizations int, defines ...string) check {
	return check{
		turnsModel, append(defines, fmt.Sprintf("-DN=%d", organizations)),
		[]string{"-DSAFETY", "-DNOREDUCE"},
		[]string{"-m400000", "-w22"},
	}
}

func leaks(defines ...string) check {
	return check{leaksModel, defines, []string{"-DSAFETY", "-DNOREDUCE"}, []string{"-m200000", "-w22"}}
}

func cancels(defines ...string) check {
	return check{cancelsModel, defines, []string{"-DSAFETY", "-DNOREDUCE"}, []string{"-m20000", "-w20"}}
}

// fewest finds the violation of the fewest steps.
func fewest(c check) check {
	c.cc = append(c.cc, "-DBFS")
	return c
}

// TestBound: with so many organizations that a renewal has room for one deletion of each, beside what is asked for, the
// next one names ours. With more of them, it is asked for after so many turns at most.
func TestBound(t *testing.T) {
	t.Parallel()
	turns(2).run(t).requireProof(t)
	turns(3).run(t).requireProof(t)
	r := turns(4).run(t)
	r.requireProof(t)
	requireReached(t, r.unreached)
}

// TestSafety: no replica accepts a key whose object is gone. Two replicas, two keys, every order of events.
func TestSafety(t *testing.T) {
	t.Parallel()
	r := safety().run(t)
	r.requireProof(t)
	requireReached(t, r.unreached)
}

// TestLeaks: whoever has answered a report refuses the key; all do, once all know of it; and no report is lost that was
// answered, whatever becomes of the replica and of the ApiKey.
func TestLeaks(t *testing.T) {
	t.Parallel()
	r := leaks().run(t)
	r.requireProof(t)
	requireReached(t, r.unreached)
}

// TestCancels: when an ApiKey is gone whose deletion was to cancel what its key had queued, nothing of that goes out.
func TestCancels(t *testing.T) {
	t.Parallel()
	r := cancels().run(t)
	r.requireProof(t)
	requireReached(t, r.unreached)
}

// TestLiveness: every deletion that has begun completes, under weak fairness, whatever faults last on each side.
func TestLiveness(t *testing.T) {
	t.Parallel()
	r := liveness().run(t)
	r.requireProof(t)
	requireReached(t, r.unreached)
}

// TestStraight: nothing goes wrong in the small world in which the rules are turned round, unless they are.
func TestStraight(t *testing.T) {
	t.Parallel()
	shortest().run(t).requireProof(t)
	liveness("-DALONE").run(t).requireProof(t)
}

// turned are the rules turned round, and what the search is to find.
var turned = []struct {
	define string
	reason string
	check  check
}{
	{"TURN_R1", "a replica lists, then registers: a deletion in between is seen by neither side", shortest()},
	{"TURN_R2", "a list from the past brings a key back that is gone", shortest()},
	{"TURN_R3", "a replica that is not in the cache of Leases yet is not awaited", shortest()},
	{"TURN_R4", "what is noted before it is applied is confirmed too early", shortest()},
	{"TURN_R5", "an answer that comes late puts the fence's deadline off for longer than the Lease lasts", shortest()},
	{"TURN_R6", "a fence that shuts when the Lease expires shuts too late", shortest()},
	{"TURN_R7", "a key with a hash and no finalizer is gone at once when it is deleted", shortest()},
	{"TURN_R8", "a renewal after the deadline opens a fence whose replica was not awaited meanwhile", shortest()},
	{"TURN_R9", "a store goes past a deletion that its watch has swallowed", shortest()},
	{"TURN_R10", "a timer is late in a process that was paused", shortest()},
	{"TURN_R11", "a clock that is behind makes a renewal older than it is", shortest()},
	{"TURN_R12", "a renewal that comes after the list does not stop its Lease from expiring on the list", shortest()},
	{"TURN_R13", "a key whose finalizer somebody took off is gone at once when it is deleted", shortest()},
	{"TURN_R14", "a key that is replaced while it is being deleted is gone before anybody has confirmed it", shortest()},
	{"TURN_K1", "a replica accepts a key whose report it has answered", fewest(leaks())},
	{"TURN_K2", "a replica dies that has answered and told nobody", fewest(leaks())},
	{"TURN_K3", "an ApiKey goes of whose leak nobody has taken note, and is restored", fewest(leaks())},
	{"TURN_K4", "a report goes with the Lease that it stands on", fewest(leaks())},
	{"TURN_K5", "a replica that starts serves a key that has leaked", fewest(leaks())},
	{"TURN_K6", "a deletion is confirmed before what was reported earlier is told", fewest(leaks())},
	{"TURN_K7", "a report is seen before the key, and nobody looks at it again", fewest(leaks())},
	{"TURN_K8", "a leak is confirmed, forgiven, and what was said of it taken for the deletion", fewest(leaks())},
	{"TURN_C1", "a replica queues a post after another one has canceled all there was, and is cut off", fewest(cancels())},
	{"TURN_C2", "a replica says that it has canceled what it has not", fewest(cancels())},
	{"TURN_C3", "a replica that starts takes what is queued for canceled", fewest(cancels())},
	{"TURN_C4", "a replica that refuses a leaked key has canceled nothing", fewest(cancels())},
	{"TURN_L1", "a replica whose watch is deaf is never told", liveness("-DALONE")},
	{"TURN_L2", "a replica that can't list registers over and over", liveness("-DALONE")},
	{"TURN_L3", "a replica that can't list renews for ever", liveness("-DALONE")},
	{"TURN_T1", "whom the controller asks for is anybody, and one is passed over again and again", fewest(turns(4))},
	{"TURN_T2", "the controller asks for others before the replica has read whom it asked for", fewest(turns(4))},
	{"TURN_T3", "the oldest deletions of all fill the Lease, and one organization has them", fewest(turns(2))},
}

// TestTurned: each rule is needed. Turned round, it lets the search find what goes wrong; -v shows how.
func TestTurned(t *testing.T) {
	t.Parallel()
	for _, tc := range turned {
		t.Run(tc.define, func(t *testing.T) {
			t.Parallel()
			c := tc.check
			c.defines = append(slices.Clone(c.defines), "-D"+tc.define)
			r := c.run(t)
			if !strings.Contains(r.output, "assertion violated") && !strings.Contains(r.output, "acceptance cycle") {
				t.Fatalf("nothing goes wrong, but %s:\n%s", tc.reason, r.output)
			}
			trail := r.trail(t)
			if len(trail) < 3 {
				t.Errorf("the trail tells nothing: %q", trail)
			}
			t.Logf("%s:\n\t%s", tc.reason, strings.Join(trail, "\n\t"))
		})
	}
}

// TestTurnsAreAll that the model knows: a rule that nobody turns round is a claim.
func TestTurnsAreAll(t *testing.T) {
	t.Parallel()
	inModel := regexp.MustCompile(`TURN_[RLTKC]\d+`).FindAllString(sources(t), -1)
	var inTest []string
	for _, tc := range turned {
		inTest = append(inTest, tc.define)
	}
	slices.Sort(inModel)
	slices.Sort(inTest)
	if inModel = slices.Compact(inModel); !slices.Equal(inModel, inTest) {
		t.Errorf("the model has %v, the test turns %v", inModel, inTest)
	}
}

func sources(t *testing.T) string {
	t.Helper()
	return source(t, model) + source(t, turnsModel) + source(t, leaksModel) + source(t, cancelsModel)
}

func source(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// result is what a verifier has found.
type result struct {
	check
	dir       string
	output    string
	unreached []string
}

// unreachedAt is a line of the list of statements that were never executed.
var unreachedAt = regexp.MustCompile(`(?m)^\t[a-z]+\.pml:(\d+), state \d+, "(.*)"$`)

func (c check) run(t *testing.T) result {
	t.Helper()
	for _, program := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: `make test` installs it; by hand: apt-get install %s", err, program)
		}
	}
	r := result{check: c, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(r.dir, c.model), []byte(source(t, c.model)), 0o600); err != nil {
		t.Fatal(err)
	}
	r.exec(t, "spin", append(slices.Clone(c.defines), "-a", c.model)...)
	// -w: gcc warns of indices that it takes for too big in what spin has written.
	r.exec(t, "gcc", append(slices.Clone(c.cc), "-O2", "-w", "-DMEMLIM=2500", "-o", "pan", "pan.c")...)
	r.output = r.exec(t, "./pan", c.flags...)
	for _, m := range unreachedAt.FindAllStringSubmatch(r.output, -1) {
		if m[2] == "-end-" {
			continue // of processes that live for ever
		}
		r.unreached = append(r.unreached, fmt.Sprintf("%s:%s: %s", c.model, m[1], m[2]))
	}
	return r
}

func (r result) exec(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// requireProof fails unless the search has found nothing, and has left nothing out.
func (r result) requireProof(t *testing.T) {
	t.Helper()
	for _, want := range []string{"Full statespace search", ", errors: 0"} {
		if !strings.Contains(r.output, want) {
			t.Errorf("spin does not say %q", want)
		}
	}
	for _, not := range []string{"max search depth too small", "out of memory", "Search not completed", "Bit statespace", "hash-compact"} {
		if strings.Contains(r.output, not) {
			t.Errorf("spin says %q", not)
		}
	}
	if !t.Failed() {
		t.Log(strings.Join(figures.FindAllString(r.output, -1), ", "))
		return
	}
	trail := "there is no trail"
	if _, err := os.Stat(filepath.Join(r.dir, r.model+".trail")); err == nil {
		trail = strings.Join(r.trail(t), "\n\t")
	}
	t.Fatalf("%s\n\t%s", r.output, trail)
}

// figures are what a search has cost.
var figures = regexp.MustCompile(`\d\S* (states, stored|transitions|seconds)|\d\S*\ttotal actual memory usage`)

// requireReached fails if there is a step that never happens: such a model proves little.
func requireReached(t *testing.T, unreached []string) {
	t.Helper()
	for _, s := range unreached {
		t.Errorf("never happens: %s", s)
	}
}

// told is a line that the model prints for people.
var told = regexp.MustCompile(`^\s*((?:replica|controller|user|time|world).*|<<<<<START OF CYCLE>>>>>)$`)

// trail replays the violation.
func (r result) trail(t *testing.T) (steps []string) {
	t.Helper()
	out := r.exec(t, "spin", append(slices.Clone(r.defines), "-t", r.model)...)
	for line := range strings.Lines(out) {
		if m := told.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			steps = append(steps, m[1])
		}
	}
	return steps
}
