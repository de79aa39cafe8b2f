// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// argoHealth is what Argo CD makes of an object with our health check: the status and the message. It runs the script
// as Argo CD does, with its interpreter, within a second, and with no more than the base, package and table libraries.
func argoHealth(ctx context.Context, object map[string]any) (status, message string, err error) {
	script, err := os.ReadFile(kube.Path("docs/examples/gitops/argocd-health.lua"))
	if err != nil {
		return "", "", fmt.Errorf("read the health check: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	state.SetContext(within)
	for name, open := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return "", "", fmt.Errorf("open %q: %w", name, err)
		}
	}
	state.SetGlobal("obj", luaValue(state, object))
	if err := state.DoString(string(script)); err != nil {
		return "", "", fmt.Errorf("run the health check: %w", err)
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", errors.New("the health check returns no table")
	}
	return result.RawGetString("status").String(), result.RawGetString("message").String(), nil
}

// luaValue is a value of an unstructured object in Lua. Numbers are 64-bit integers or floats there.
func luaValue(state *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		table := state.CreateTable(len(v), 0)
		for _, item := range v {
			table.Append(luaValue(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(v))
		for name, item := range v {
			table.RawSetString(name, luaValue(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}

var _ = Describe("GitOps: the health check in argocd-cm.yaml", func() {
	It("is argocd-health.lua, for both resources", func() {
		script, err := os.ReadFile(kube.Path("docs/examples/gitops/argocd-health.lua"))
		Expect(err).NotTo(HaveOccurred())
		content, err := os.ReadFile(kube.Path("docs/examples/gitops/argocd-cm.yaml"))
		Expect(err).NotTo(HaveOccurred())
		var patch struct{ Data map[string]string }
		Expect(yaml.UnmarshalStrict(content, &patch)).To(Succeed())
		Expect(patch.Data).To(Equal(map[string]string{
			"resource.customizations.health.letmepost.dev_ApiKey":  string(script),
			"resource.customizations.health.letmepost.dev_Profile": string(script),
		}))
	})
})
