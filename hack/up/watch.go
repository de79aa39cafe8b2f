package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// A process of ours that ends by itself this often without having run for this long once in between is broken, not
// unlucky: to start it again would only hide its last words.
const (
	quickEnds = 3
	quickRun  = 5 * time.Second
)

// watch runs until ctx ends, and then returns nil. A process of ours that ends by itself is started again, as its
// Deployment would do. Without a part of the control plane there is nothing to go on with: watch returns its last
// words, and those of a process of ours that can't stay up.
func (s *session) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	died := make(chan *kube.Process)
	tell := func(process *kube.Process) {
		select {
		case <-process.Done():
		case <-ctx.Done():
			return
		}
		select {
		case died <- process:
		case <-ctx.Done():
		}
	}
	lives := map[string]*life{}
	for _, process := range s.started {
		lives[process.Name()] = &life{began: time.Now()}
		go tell(process)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case process := <-died:
			again, err := s.again(process, lives[process.Name()])
			if err != nil {
				return fmt.Errorf("%w. The end of %s:\n%s", err, process.LogFile(), indent(process.Tail(tailLines)))
			}
			go tell(again)
			go s.sayReady(ctx, again)
		}
	}
}

// life is what is known of the runs of one process.
type life struct {
	began time.Time // of the latest run
	quick int       // runs in a row, up to now, that ended within quickRun
}

// ended counts a run that is over, and says whether there should be another one.
func (l *life) ended(now time.Time) (again bool) {
	l.quick++
	if now.Sub(l.began) >= quickRun {
		l.quick = 0
	}
	l.began = now
	return l.quick < quickEnds
}

// again starts a process of ours that has ended by itself, in its place among those that are stopped in order. The
// error says why there is no other one.
func (s *session) again(process *kube.Process, l *life) (*kube.Process, error) {
	reason := process.Err()
	if reason == nil { // cannot be: nobody but stop asks a child to end
		reason = fmt.Errorf("%s ended", process.Name())
	}
	child, ours := s.child(process.Name())
	if !ours || !l.ended(time.Now()) {
		return nil, reason
	}
	next, err := s.run(child)
	if err != nil {
		return nil, fmt.Errorf("%w, and can't be started again: %w", reason, err)
	}
	s.started[slices.Index(s.started, process)] = next
	fmt.Fprintf(s.out, "%v (pid %d); started again as pid %d\n", reason, process.PID(), next.PID())
	return next, nil
}

// sayReady says when a process that was started again is ready. If it ends before, watch has the next word.
func (s *session) sayReady(ctx context.Context, process *kube.Process) {
	began := time.Now()
	child, _ := s.child(process.Name())
	if err := kube.WaitReady(ctx, http.DefaultClient, child.readyURL(), process); err == nil {
		fmt.Fprintf(s.out, "%s is ready again, %.1f s later\n", process.Name(), time.Since(began).Seconds())
	}
}
