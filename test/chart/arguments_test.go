// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/util/cert"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// TestProcessesTakeTheirArguments starts the real processes with the arguments of every case. There is no cluster: a
// process that comes as far as to miss it has understood all that it was told. One that was called wrongly ends with 2
// before that, again and again in a pod.
func TestProcessesTakeTheirArguments(t *testing.T) {
	t.Parallel()
	certificates := certificateDir(t)
	var started sync.Map // most cases change nothing for most processes
	cases := append(slices.Clone(valueCases), valueCase{reason: "everything", settings: everything})
	for _, tc := range cases {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			for name, object := range helm(t, with(tc.base(), tc.settings)) {
				program, given := command(object)
				if _, before := started.LoadOrStore(program+strings.Join(given, "\n"), true); program == "" || before {
					continue
				}
				if err := understands(t, program, certificates, given); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// command is the program that an object runs, and its arguments; "" if it runs none.
func command(object map[string]any) (program string, given []string) {
	name, _ := dig(object, container+" name").(string)
	list, _ := dig(object, args).([]any)
	for _, argument := range list {
		given = append(given, argument.(string))
	}
	return map[string]string{"controller": "controller", "release": "controller", "api": "api", "gate": "gate"}[name], given
}

// understands runs a program with arguments, and without a cluster.
func understands(t *testing.T, program, certificates string, given []string) error {
	t.Helper()
	for i := range given {
		given[i] = strings.Replace(given[i], "/etc/letmepost/tls/", certificates+"/", 1)
		given[i] = strings.Replace(given[i], "/etc/letmepost/oidc/", certificates+"/", 1)
	}
	command := exec.CommandContext(t.Context(), kube.Path("bin/"+program), given...)
	command.Env = append(kube.MinimalEnv(), "KUBECONFIG="+filepath.Join(certificates, "no-kubeconfig"))
	said, err := command.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case !errors.As(err, &exit):
		return errors.Join(errors.New("it did not end with an error, though there is no cluster"), err)
	case exit.ExitCode() != 1 || !strings.Contains(string(said), "kubeconfig:"):
		return errors.New(command.String() + " ended with " + exit.String() + ": " + string(said))
	}
	return nil
}

// TestArgumentsAreUnderstood proves that the check above can fail.
func TestArgumentsAreUnderstood(t *testing.T) {
	t.Parallel()
	for program, wrong := range map[string][]string{
		"api": {"--environment=live", "--max-media-size=5Gi"}, "controller": {"--secret-recheck-interval=0s"},
		"gate": {"--environment=none"},
	} {
		if err := understands(t, program, t.TempDir(), wrong); err == nil || !strings.Contains(err.Error(), "exit status 2") {
			t.Errorf("%s %v: got %v, want exit status 2", program, wrong, err)
		}
	}
}

// certificateDir is what the Secrets of tls.* and dashboard.oidc are mounted as.
func certificateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	certificate, key, err := cert.GenerateSelfSignedCertKey("api.example.com", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"tls.crt": certificate, "tls.key": key, "ca.crt": certificate, "client-secret": []byte("a secret\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
