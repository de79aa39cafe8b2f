package kube

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func TestMain(m *testing.M) { Main(m, Options{}) }

// TestStopsWhileSomebodyWatches says that a watch that is open, such as a person's `kubectl get -w`, keeps nothing from
// ending in order: an apiserver that has to be killed is an error of Stop.
func TestStopsWhileSomebodyWatches(t *testing.T) {
	c := start(t, Options{UnsafeNoFsync: true})
	watch, err := clientset(t, c.AdminConfig()).CoreV1().Events("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	for range watch.ResultChan() { // it is told so
	}
}

// TestClusterLife goes through a whole life, with everything on, in one directory: the controller manager works,
// the state and the tokens survive a stop and a start, and nothing is left running at the end.
func TestClusterLife(t *testing.T) {
	options := Options{Dir: t.TempDir(), ControllerManager: true, UnsafeNoFsync: true}
	first := start(t, options)
	client := clientset(t, first.AdminConfig())
	name := createNamespace(t, client)
	waitFor(t, "the default ServiceAccount, which kube-controller-manager makes", func() error {
		_, err := client.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := first.ServiceAccountKubeconfig(t.Context(), name, "default", path); err != nil {
		t.Fatal(err)
	}
	checkPIDFiles(t, options.Dir, first.Processes())
	stopped := first.Processes()
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	checkGone(t, options.Dir, stopped)

	// The second start is on the ports of the first, so that the kubeconfig written then can be used.
	options.Ports = first.options.Ports
	second := start(t, options)
	if _, err := clientset(t, second.AdminConfig()).CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Errorf("a namespace made before the restart: %v", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = clientset(t, config).CoreV1().Secrets(name).List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a token from before the restart must still be known, and be refused by RBAC alone; got %v", err)
	}
}

func TestServiceAccountKubeconfigIsLimitedByRBAC(t *testing.T) {
	cluster := Shared(t)
	namespace := cluster.Namespace(t)
	admin := clientset(t, cluster.AdminConfig())
	_, err := admin.CoreV1().ServiceAccounts(namespace).Create(t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "reader"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	manifests := t.TempDir()
	writeTestFile(t, filepath.Join(manifests, "role.yaml"), fmt.Sprintf(readerRole, namespace))
	if err := InstallManifests(t.Context(), cluster.AdminConfig(), manifests); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "folder", "kubeconfig")
	if err := cluster.ServiceAccountKubeconfig(t.Context(), namespace, "reader", path); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	reader := clientset(t, config)
	waitFor(t, "the role binding to take effect", func() error {
		_, err := reader.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{})
		return err
	})
	if _, err := reader.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("list secrets: want forbidden, got %v", err)
	}
	if _, err := reader.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("list configmaps of another namespace: want forbidden, got %v", err)
	}
}

const readerRole = `# a document of comments only
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: %[1]s}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: %[1]s}]
`

func TestAPIServerRestartKeepsState(t *testing.T) {
	cluster := Shared(t)
	namespace := cluster.Namespace(t)
	client := clientset(t, cluster.AdminConfig())
	if err := cluster.StopAPIServer(); err != nil {
		t.Fatal(err)
	}
	_, err := client.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
	if err == nil || apierrors.IsNotFound(err) {
		t.Errorf("with the apiserver stopped, a request must fail to connect; got %v", err)
	}
	if err := cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The same client, so also the same port.
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

func TestInstallManifestsWaitsForDefinitions(t *testing.T) {
	cluster := Shared(t)
	dir := t.TempDir()
	// The object sorts before its definition, and its namespace after both.
	writeTestFile(t, filepath.Join(dir, "a-object.yaml"), widget)
	writeTestFile(t, filepath.Join(dir, "nested", "definition.yaml"), widgetDefinition)
	writeTestFile(t, filepath.Join(dir, "z-namespace.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: widgets}\n")
	for range 2 { // applying twice changes nothing
		if err := InstallManifests(t.Context(), cluster.AdminConfig(), dir); err != nil {
			t.Fatal(err)
		}
	}
	writeTestFile(t, filepath.Join(dir, "broken.yaml"), "kind: [")
	if err := InstallManifests(t.Context(), cluster.AdminConfig(), dir); err == nil || !strings.Contains(err.Error(), "broken.yaml") {
		t.Errorf("a file that is no YAML must be named; got %v", err)
	}
}

const widget = `apiVersion: example.test/v1
kind: Widget
metadata: {name: one, namespace: widgets}
spec: {size: 3}
`

const widgetDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.test}
spec:
  group: example.test
  names: {kind: Widget, listKind: WidgetList, plural: widgets, singular: widget}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {size: {type: integer}}}}
`

// TestEtcdGateway proves that a test can look at the raw stored values, as the hunt for plaintext keys does.
func TestEtcdGateway(t *testing.T) {
	cluster := Shared(t)
	namespace := cluster.Namespace(t)
	key := base64.StdEncoding.EncodeToString([]byte("/registry/namespaces/" + namespace))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, cluster.EtcdURL()+"/v3/kv/range",
		strings.NewReader(`{"key":"`+key+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), `"count":"1"`) {
		t.Errorf("range of one key: %s %s (%v)", response.Status, body, err)
	}
}

func TestStartFailsInPlainWords(t *testing.T) {
	t.Run("nothing built", func(t *testing.T) {
		_, err := Start(t.Context(), Options{BinDir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "make controlplane") {
			t.Errorf("want the command that builds it, got %v", err)
		}
	})
	t.Run("the apiserver dies", func(t *testing.T) {
		bin := t.TempDir()
		if err := os.Symlink(Path("bin/k8s/etcd"), filepath.Join(bin, Etcd)); err != nil {
			t.Fatal(err)
		}
		writeTestFile(t, filepath.Join(bin, APIServer), "#!/bin/sh\necho the flux capacitor is empty\nexit 3\n")
		dir := t.TempDir()
		_, err := Start(t.Context(), Options{Dir: dir, BinDir: bin})
		if err == nil || !strings.Contains(err.Error(), "kube-apiserver ended by itself: exit status 3") ||
			!strings.Contains(err.Error(), "the flux capacitor is empty") {
			t.Errorf("want which process, how it ended and its last words, got %v", err)
		}
		checkGone(t, dir, nil)
	})
	t.Run("the context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dir := t.TempDir()
		go func() { // once there is something to wait for: its process runs, and is not ready for a while
			pid := filepath.Join(dir, "pids", APIServer+".pid")
			_ = poll(ctx, time.Minute, func() (bool, error) { _, err := os.Stat(pid); return err == nil, err })
			cancel()
		}()
		if _, err := Start(ctx, Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "did not become ready") {
			t.Errorf("want what was waited for, got %v", err)
		}
		checkGone(t, dir, nil)
	})
}

func start(t *testing.T, options Options) *Cluster {
	t.Helper()
	began := time.Now()
	cluster, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("ready after %.1f s", time.Since(began).Seconds())
	return cluster
}

func clientset(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func createNamespace(t *testing.T, client *kubernetes.Clientset) string {
	t.Helper()
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "life-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

func waitFor(t *testing.T, what string, check func() error) {
	t.Helper()
	err := poll(t.Context(), time.Minute, func() (bool, error) {
		err := check()
		return err == nil, err
	})
	if err != nil {
		t.Fatalf("wait for %s: %v", what, err)
	}
}

// checkPIDFiles proves that the pid file of each process tells its pid.
func checkPIDFiles(t *testing.T, dir string, processes []*Process) {
	t.Helper()
	if len(processes) != 3 {
		t.Errorf("want etcd, kube-apiserver and kube-controller-manager, got %d processes", len(processes))
	}
	for _, process := range processes {
		content, err := os.ReadFile(filepath.Join(dir, "pids", process.Name()+".pid"))
		if err != nil || strings.TrimSpace(string(content)) != strconv.Itoa(process.PID()) {
			t.Errorf("pid file of %s: %q, %v; want %d", process.Name(), content, err, process.PID())
		}
	}
}

// checkGone proves that no process and no pid file is left.
func checkGone(t *testing.T, dir string, processes []*Process) {
	t.Helper()
	for _, process := range processes {
		if err := syscall.Kill(process.PID(), 0); err == nil {
			t.Errorf("%s still runs", process.Name())
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "pids")); err != nil || len(left) > 0 {
		t.Errorf("pid files left: %v %v", left, err)
	}
}

func writeTestFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}
