// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// drain is how long answers that are under way may take once the pod is to end.
const drain = 5 * time.Second

// serve answers until SIGTERM.
func serve() error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	server := &http.Server{Addr: ":8080", Handler: whoami(host, os.Getenv("LMP_API_KEY")), ReadHeaderTimeout: drain}
	drained := make(chan error, 1)
	go func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		drained <- server.Shutdown(ctx)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained
}

// whoami answers 200 {"host": the pod's name} to whoever has the key, 401 to others, and 401 to all when there is no
// key.
func whoami(host, key string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key == "" || r.Header.Get("Authorization") != "Bearer "+key {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"host": host}) // the caller has gone
	})
}
