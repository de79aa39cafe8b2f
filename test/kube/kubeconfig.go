package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// tokenLifetime outlasts any development session; `make up` asks for a new token at each start.
const tokenLifetime = 365 * 24 * time.Hour

// AdminConfig is a client configuration of an administrator, without client-side rate limits. The caller may
// change it.
func (c *Cluster) AdminConfig() *rest.Config { return rest.CopyConfig(c.admin) }

// KubeconfigPath is a kubeconfig file of an administrator.
func (c *Cluster) KubeconfigPath() string { return c.kubeconfig(adminName) }

func (c *Cluster) kubeconfig(name string) string {
	return filepath.Join(c.options.Dir, "kubeconfig", name)
}

// ServiceAccountKubeconfig writes a kubeconfig file to path that acts as an existing ServiceAccount, with a
// token from the TokenRequest API: what a pod of that ServiceAccount would hold, and may do no more than it.
func (c *Cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name, path string) error {
	clientset, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return fmt.Errorf("kubeconfig of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	seconds := int64(tokenLifetime.Seconds())
	token, err := clientset.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}},
		metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("kubeconfig of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return c.writeKubeconfig(path, name, &clientcmdapi.AuthInfo{Token: token.Status.Token})
}

// writeCertKubeconfig writes a kubeconfig whose user is one of the pki's client certificates.
func (c *Cluster) writeCertKubeconfig(name string) (*clientcmdapi.AuthInfo, error) {
	cert, err := os.ReadFile(c.pki.cert(name))
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of %s: %w", name, err)
	}
	key, err := os.ReadFile(c.pki.key(name))
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of %s: %w", name, err)
	}
	user := &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	return user, c.writeKubeconfig(c.kubeconfig(name), name, user)
}

func (c *Cluster) writeKubeconfig(path, user string, auth *clientcmdapi.AuthInfo) error {
	const cluster = "letmepost-dev"
	config := clientcmdapi.NewConfig()
	config.Clusters[cluster] = &clientcmdapi.Cluster{Server: c.apiServerURL(), CertificateAuthorityData: c.ca}
	config.AuthInfos[user] = auth
	config.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user}
	config.CurrentContext = cluster
	content, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return WriteFile(path, content, 0o600)
}
