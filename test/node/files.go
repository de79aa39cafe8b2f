// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

// The node's addresses. Its network namespace is its own, so they clash with nobody's, not even with another node's.
const (
	nodeName     = "node1"
	nodeIP       = "10.88.0.2"
	gatewayIP    = "10.88.0.1" // nobody
	podRange     = "10.244.0.0/24"
	serviceRange = "10.96.0.0/16"
	apiServiceIP = "10.96.0.1" // the first of the range, which the Service "kubernetes" gets

	apiServer        = "https://127.0.0.1:6443"
	containerdSocket = "/run/containerd/containerd.sock"
)

// volumes are as many claims as can be bound in one run.
const volumes = 16

//go:embed config
var configs embed.FS

// file is a path in the state directory.
func (s settings) file(name string) string { return filepath.Join(s.State, name) }

// pki is the path of a certificate or key.
func (s settings) pki(name string) string { return s.file(filepath.Join("pki", name)) }

// config is the path of a configuration file.
func (s settings) config(name string) string { return s.file(filepath.Join("config", name)) }

// podLogs is the folder for the logs of containers.
func (s settings) podLogs() string { return filepath.Join(s.Logs, "pods") }

// writeFiles makes the folders of the state directory, and the configuration of every process.
func (s settings) writeFiles() error {
	folders := []string{"pki", "config", "cni", "kubelet", "plugins", "var-lib", "var-lib-work"}
	for i := range volumes {
		folders = append(folders, fmt.Sprintf("volumes/%d", i))
	}
	for _, folder := range folders {
		if err := os.MkdirAll(s.file(folder), 0o755); err != nil {
			return fmt.Errorf("make the state directory: %w", err)
		}
	}
	for _, name := range []string{
		"containerd.toml", "kubelet.yaml", "kube-proxy.yaml", "audit.yaml", "Corefile", "storage.yaml",
	} {
		if err := s.render(name, s.config(name), nil); err != nil {
			return err
		}
	}
	if err := s.render("pods.conflist", s.file("cni/pods.conflist"), nil); err != nil {
		return err
	}
	for user := range users {
		if err := s.render("kubeconfig.yaml", s.config(user+".kubeconfig"), user); err != nil {
			return err
		}
	}
	return nil
}

// render writes a file from its template in config/.
func (s settings) render(name, path string, argument any) error {
	indexes := make([]int, volumes)
	for i := range indexes {
		indexes[i] = i
	}
	text, err := template.New(name).Option("missingkey=error").ParseFS(configs, "config/"+name)
	if err != nil {
		return fmt.Errorf("configuration %s: %w", name, err)
	}
	var content bytes.Buffer
	err = text.Execute(&content, map[string]any{
		"State": s.State, "Logs": s.Logs, "PodLogs": s.podLogs(), "PluginDir": pluginDir, "Socket": containerdSocket,
		"PauseImage": pauseImage, "NodeName": nodeName, "NodeIP": nodeIP, "PodRange": podRange, "APIServer": apiServer,
		"Volumes": indexes, "Argument": argument,
	})
	if err != nil {
		return fmt.Errorf("configuration %s: %w", name, err)
	}
	if err := os.WriteFile(path, content.Bytes(), 0o600); err != nil {
		return fmt.Errorf("configuration %s: %w", name, err)
	}
	return nil
}
