// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// place is somewhere a key could have got to.
type place struct {
	name string
	text []byte
}

// haystack is everything there is: all that was ever logged, all that is stored, and what running processes tell.
func haystack(ctx SpecContext, servers ...*server) []place {
	GinkgoHelper()
	all := append(logs(), stored(ctx)...)
	all = append(all, history(ctx)...)
	running := cluster.Processes()
	for _, s := range servers {
		all = append(all, place{"metrics of " + s.Name(), []byte(s.scrape(ctx))})
		running = append(running, s.Process)
	}
	return append(all, told(running...)...)
}

// logs are those of every process that this suite has started.
func logs() (all []place) {
	GinkgoHelper()
	files, err := filepath.Glob(filepath.Join(logDir, "*"))
	Expect(err).NotTo(HaveOccurred())
	for _, process := range cluster.Processes() {
		files = append(files, process.LogFile())
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		all = append(all, place{"log " + filepath.Base(file), content})
	}
	return all
}

// told is what everybody on a machine can see of a process, or its user at least.
func told(processes ...*kube.Process) (all []place) {
	GinkgoHelper()
	for _, process := range processes {
		for _, file := range []string{"cmdline", "environ"} {
			content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", process.PID(), file))
			Expect(err).NotTo(HaveOccurred())
			all = append(all, place{file + " of " + process.Name(), content})
		}
	}
	return all
}

// keyValue is etcd's, in the JSON of its gateway.
type keyValue struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

func (kv keyValue) place(where string) place {
	return place{where + string(kv.Key), bytes.Join([][]byte{kv.Key, kv.Value}, []byte("\n"))}
}

const (
	inEtcd      = "etcd "
	inEtcdsPast = "etcd's past "
)

// stored is every key and value in etcd: each object with its status, conditions and annotations, and each event.
func stored(ctx context.Context) (all []place) {
	GinkgoHelper()
	const page = 200
	for from := []byte{0}; ; {
		var answer struct {
			KVs  []keyValue `json:"kvs"`
			More bool       `json:"more"`
		}
		etcd(ctx, "/v3/kv/range", map[string]any{"key": from, "range_end": []byte{0}, "limit": page}, &answer)
		for _, kv := range answer.KVs {
			all = append(all, kv.place(inEtcd))
		}
		if !answer.More {
			return all
		}
		from = append(answer.KVs[len(answer.KVs)-1].Key, 0)
	}
}

// history is every value that etcd has ever held, or since it was compacted: what is deleted or overwritten by now may
// have been read.
func history(ctx context.Context) (all []place) {
	GinkgoHelper()
	var now struct {
		Header struct {
			Revision int64 `json:"revision,string"`
		} `json:"header"`
	}
	etcd(ctx, "/v3/kv/range", map[string]any{"key": []byte{0}}, &now)
	for from := int64(1); from > 0; {
		var places []place
		places, from = changes(ctx, from, now.Header.Revision)
		all = append(all, places...)
	}
	return all
}

// changes returns what was put from one revision on up to another. If etcd has forgotten that, it returns the revision
// from which it remembers.
func changes(ctx context.Context, from, to int64) (all []place, remembered int64) {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	response := post(ctx, "/v3/watch", map[string]any{"create_request": map[string]any{
		"key": []byte{0}, "range_end": []byte{0}, "start_revision": from, "progress_notify": true,
	}})
	defer response.Body.Close()
	for stream := json.NewDecoder(response.Body); ; {
		var message struct {
			Result struct {
				CompactRevision int64 `json:"compact_revision,string"`
				Events          []struct {
					KV struct {
						keyValue
						ModRevision int64 `json:"mod_revision,string"`
					} `json:"kv"`
				} `json:"events"`
			} `json:"result"`
		}
		Expect(stream.Decode(&message)).To(Succeed())
		if message.Result.CompactRevision > 0 {
			return nil, message.Result.CompactRevision
		}
		for _, event := range message.Result.Events {
			all = append(all, event.KV.place(inEtcdsPast))
			if event.KV.ModRevision >= to {
				return all, 0
			}
		}
	}
}

func etcd(ctx context.Context, path string, request, answer any) {
	GinkgoHelper()
	response := post(ctx, path, request)
	defer response.Body.Close()
	Expect(json.NewDecoder(response.Body).Decode(answer)).To(Succeed())
}

func post(ctx context.Context, path string, body any) *http.Response {
	GinkgoHelper()
	content, err := json.Marshal(body)
	Expect(err).NotTo(HaveOccurred())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, cluster.EtcdURL()+path, bytes.NewReader(content))
	Expect(err).NotTo(HaveOccurred())
	response, err := http.DefaultClient.Do(request)
	Expect(err).NotTo(HaveOccurred())
	Expect(response.StatusCode).To(Equal(http.StatusOK), path)
	return response
}

const looksLikeKey = "what looks like a key"

const secretsInEtcd = "/registry/secrets/"

// hunt says where keys are that should be nowhere but in their own Secrets. homes has the namespace/name of the Secret
// of each plaintext, "" if it must be nowhere at all.
func hunt(homes map[string]string, places []place) (found []string) {
	var plaintexts []string
	for plaintext := range homes {
		plaintexts = append(plaintexts, plaintext)
	}
	all := newNeedles(plaintexts...)
	anyKey := regexp.MustCompile(key.Pattern)
	for _, p := range places {
		name, stored := strings.CutPrefix(strings.TrimPrefix(strings.TrimPrefix(p.name, inEtcdsPast), inEtcd), secretsInEtcd)
		for _, f := range all.in(p.text) {
			if !stored || name != homes[f.plaintext] {
				found = append(found, fmt.Sprintf("%s: %s… %s: %s", p.name, f.plaintext[:min(coreFrom, len(f.plaintext)/3)], f.form, p.around(f.at)))
			}
		}
		// A key that was made and lost in a crash is known to nobody, but has the shape of one.
		// A regular expression that begins with a boundary looks at each byte: most texts have no key's first word.
		if stored || !bytes.Contains(p.text, []byte(key.DefaultWord+"_")) {
			continue
		}
		if at := anyKey.FindIndex(p.text); at != nil {
			found = append(found, fmt.Sprintf("%s: %s: %s", p.name, looksLikeKey, p.around(at[0])))
		}
	}
	return found
}

// around is what stands around an offset, for whoever has to find out how it got there.
func (p place) around(at int) string {
	const before, after = 300, 100
	return fmt.Sprintf("%q", p.text[max(0, at-before):min(len(p.text), at+after)])
}
