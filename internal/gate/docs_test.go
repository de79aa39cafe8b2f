// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/internal/gate"
)

func guardPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/guard.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestEnvoyOfTheDocs: what docs/guard.md has for Envoy is what Envoy's published types have, fails closed, and demands
// what the gate understands.
func TestEnvoyOfTheDocs(t *testing.T) {
	_, section, _ := strings.Cut(guardPage(t), "\n## Envoy\n")
	_, text, _ := strings.Cut(section, "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	var config struct {
		Filters []struct {
			Name   string         `json:"name"`
			Config map[string]any `json:"typed_config"`
		} `json:"http_filters"`
		PerRoute map[string]map[string]any `json:"typed_per_filter_config"`
		Removed  []string                  `json:"request_headers_to_remove"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Filters) != 2 || len(config.PerRoute) != 1 || !slices.Equal(config.Removed, []string{"authorization"}) {
		t.Fatalf("it has %d filters, %d of a route, and removes %v", len(config.Filters), len(config.PerRoute), config.Removed)
	}
	filter, route := new(extauthzv3.ExtAuthz), new(extauthzv3.ExtAuthzPerRoute)
	parse(t, config.Filters[0].Config, filter)
	parse(t, config.PerRoute[config.Filters[0].Name], route)
	if filter.GetFailureModeAllow() || filter.GetWithRequestBody() != nil || filter.GetGrpcService().GetEnvoyGrpc() == nil {
		t.Errorf("it fails open, or asks otherwise: %v", filter)
	}
	f := newWorld(t)
	for name, want := range map[string]bool{f.orgKey: true, "nonsense": false} {
		r := f.envoy(t, route.GetCheckSettings().GetContextExtensions(), map[string]string{"authorization": "Bearer " + name})
		if (r.GetOkResponse() != nil) != want {
			t.Errorf("the demand of the page: %v", r)
		}
	}
}

// parse takes a message as Envoy does: of the type that it names, and with no field that the type lacks.
func parse(t *testing.T, config map[string]any, into proto.Message) {
	t.Helper()
	rest := maps.Clone(config)
	delete(rest, "@type")
	if want := "type.googleapis.com/" + string(into.ProtoReflect().Descriptor().FullName()); config["@type"] != want {
		t.Fatalf("it is a %v, want %s", config["@type"], want)
	}
	text, err := json.Marshal(rest)
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(text, into); err != nil {
		t.Errorf("%v: %s", err, text)
	}
	if checked, ok := into.(interface{ ValidateAll() error }); !ok || checked.ValidateAll() != nil {
		t.Errorf("Envoy refuses %s", text)
	}
}

// TestQuestionsOfTheDocs: each question on the page, and in its examples, is one that the gate takes; and none of the
// headers that the page or an example passes on is unknown to it.
func TestQuestionsOfTheDocs(t *testing.T) {
	texts := guardPage(t)
	for _, name := range []string{"nginx.conf", "Caddyfile", "haproxy.cfg", "letmepost.lua"} {
		text, err := os.ReadFile("../../docs/examples/guard/" + name)
		if err != nil {
			t.Fatal(err)
		}
		texts += string(text)
	}
	asked := regexp.MustCompile(`/(?:check\?|demand/)([a-z]+=[^\s"'`+"`"+`;)/]+)`).FindAllStringSubmatch(texts, -1)
	for _, m := range asked {
		if _, err := gate.ParseDemand(m[1]); err != nil {
			t.Errorf("%s: %v", m[0], err)
		}
	}
	if len(asked) < 7 {
		t.Errorf("%d questions were found", len(asked))
	}
	for _, name := range regexp.MustCompile(`(?i)\bX-Letmepost-[a-z-]*[a-z]\b`).FindAllString(texts, -1) {
		if !slices.ContainsFunc(gate.IdentityHeaders, func(known string) bool { return strings.EqualFold(known, name) }) {
			t.Errorf("there is no header %s", name)
		}
	}
}
