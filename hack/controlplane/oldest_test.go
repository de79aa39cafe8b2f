// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlplane_test asks Kubernetes' own code what older versions of it would say. It is here because this
// module has that code, and the product links none of it.
package controlplane_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	celschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/version"
	policycel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

const (
	root  = "../.."
	chart = "charts/letmepost-operator"
)

// installed is the environment in which an apiserver of 1.minor compiles what is installed: the one of the version
// before it, so that a cluster can be rolled back.
func installed(minor int) *environment.EnvSet {
	return environment.MustBaseEnvSet(version.MajorMinor(1, uint(minor-1)))
}

// versions are those of Kubernetes that the chart allows, up to the one of this module.
func versions(t *testing.T) (minors []int) {
	t.Helper()
	oldest := find(t, chart+"/Chart.yaml", `kubeVersion: ">=1\.(\d+)\.`)
	newest := find(t, "hack/controlplane/go.mod", `k8s.io/kubernetes v1\.(\d+)\.`)
	for minor := oldest; minor <= newest; minor++ {
		minors = append(minors, minor)
	}
	if len(minors) == 0 {
		t.Fatalf("the chart allows 1.%d and later, and this module has 1.%d", oldest, newest)
	}
	return minors
}

func find(t *testing.T, path, pattern string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(pattern).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s has no %s", path, pattern)
	}
	minor, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return minor
}

// installs are values of the chart. Its rules are other ones with them: the gate has a policy of its own, and
// watchNamespaces a condition in nearly each.
var installs = map[string][]string{
	"by default":      nil,
	"with all it has": {"gate.enabled=true", "watchNamespaces={team-a,team-b}"},
}

// TestRulesCompileWhereTheChartInstalls compiles every rule of the definitions and of the policies as each version of
// Kubernetes would that the chart allows: a function of CEL that is younger keeps the whole release from being
// installed there. What is read is what Helm makes of the chart, since that is what is installed.
func TestRulesCompileWhereTheChartInstalls(t *testing.T) {
	compiled := map[string]map[string]bool{} // documents, by the install
	for install, values := range installs {
		documents := rendered(t, values...)
		compiled[install] = map[string]bool{}
		for _, minor := range versions(t) {
			rules := 0
			for _, document := range documents {
				n, errs := compile(t, document, installed(minor))
				rules += n
				for _, err := range errs {
					t.Errorf("%s, on Kubernetes 1.%d: %v", install, minor, err)
				}
				if n > 0 {
					compiled[install][document] = true
				}
			}
			if rules < 20 {
				t.Errorf("%s, on Kubernetes 1.%d: %d rules were compiled, which can't be all", install, minor, rules)
			}
		}
	}
	if got, want := len(compiled["with all it has"]), written(t); got != want || want < 10 {
		t.Errorf("rules of %d objects were compiled, and the chart has %d with rules", got, want)
	}
}

// TestCompileCanFail holds the test above to a function whose version is known: `format` is in 1.32 and later.
func TestCompileCanFail(t *testing.T) {
	definition := `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  versions:
    - schema:
        openAPIV3Schema:
          type: object
          properties:
            name:
              type: string
              maxLength: 10
              x-kubernetes-validations: [{rule: "!format.dns1123Subdomain().validate(self).hasValue()"}]`
	for minor, fails := range map[int]bool{31: true, 32: false} {
		if _, errs := compile(t, definition, installed(minor)); (len(errs) > 0) != fails {
			t.Errorf("on Kubernetes 1.%d: errors %v, want some: %t", minor, errs, fails)
		}
	}
}

// rendered are the objects that Helm makes of the chart with these values.
func rendered(t *testing.T, values ...string) []string {
	t.Helper()
	args := []string{"template", "letmepost-operator", filepath.Join(root, chart), "--namespace", "letmepost-system"}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	command := exec.CommandContext(t.Context(), filepath.Join(root, "bin/tools/helm"), args...)
	var stderr strings.Builder
	command.Stderr = &stderr
	text, err := command.Output()
	if err != nil {
		t.Fatalf("helm %v: %v: %s", args, err, &stderr)
	}
	return strings.Split(string(text), "\n---\n")
}

// ruled is the line of an object that has rules, in a template or a file.
var ruled = regexp.MustCompile(`(?m)^kind: (ValidatingAdmissionPolicy|CustomResourceDefinition)$`)

// written is how many objects with rules the chart has, whatever its values are.
func written(t *testing.T) (n int) {
	t.Helper()
	for _, pattern := range []string{"templates/*.yaml", "files/crds/*.yaml"} {
		paths, err := filepath.Glob(filepath.Join(root, chart, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("nothing in %s: %v", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			n += len(ruled.FindAll(text, -1))
		}
	}
	return n
}

// compile compiles all expressions of a document, and tells how many there were.
func compile(t *testing.T, document string, env *environment.EnvSet) (rules int, errs []error) {
	t.Helper()
	var is struct{ Kind string }
	parse(t, document, &is)
	switch is.Kind {
	case "CustomResourceDefinition":
		var crd apiextensionsv1.CustomResourceDefinition
		parse(t, document, &crd)
		for _, v := range crd.Spec.Versions {
			var internal apiextensions.JSONSchemaProps
			convert := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps
			if err := convert(v.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
				t.Fatal(err)
			}
			structural, err := schema.NewStructural(&internal)
			if err != nil {
				t.Fatal(err)
			}
			compiled, wrong := compileSchema(structural, true, env)
			rules, errs = rules+compiled, append(errs, wrong...)
		}
	case "ValidatingAdmissionPolicy":
		var policy admissionv1.ValidatingAdmissionPolicy
		parse(t, document, &policy)
		return compilePolicy(&policy, env)
	case "MutatingAdmissionPolicy", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration":
		t.Fatalf("%s may have rules, and nothing here compiles them", is.Kind)
	}
	return rules, errs
}

func parse(t *testing.T, document string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(document), into); err != nil {
		t.Fatal(err)
	}
}

// compileSchema compiles the rules of a schema, and of all within it.
func compileSchema(s *schema.Structural, isRoot bool, env *environment.EnvSet) (rules int, errs []error) {
	self, loader := model.SchemaDeclType(s, isRoot), celschema.NewExpressionsEnvLoader()
	results, err := celschema.Compile(s, self, celconfig.PerCallLimit, env, loader)
	if err != nil {
		errs = append(errs, err)
	}
	for i, result := range results {
		rules++
		if result.Error != nil {
			errs = append(errs, fmt.Errorf("%q: %w", s.XValidations[i].Rule, result.Error))
		}
	}
	within := []*schema.Structural{s.Items}
	for _, property := range s.Properties {
		within = append(within, &property)
	}
	if s.AdditionalProperties != nil {
		within = append(within, s.AdditionalProperties.Structural)
	}
	for _, each := range within {
		if each == nil {
			continue
		}
		compiled, wrong := compileSchema(each, false, env)
		rules, errs = rules+compiled, append(errs, wrong...)
	}
	return rules, errs
}

// compilePolicy compiles all expressions of a policy, in the order in which they may refer to each other.
func compilePolicy(policy *admissionv1.ValidatingAdmissionPolicy, env *environment.EnvSet) (rules int, errs []error) {
	compiler, err := policycel.NewCompositedCompiler(env)
	if err != nil {
		return 0, []error{err}
	}
	declared := policycel.OptionalVariableDeclarations{HasAuthorizer: true}
	check := func(result policycel.CompilationResult) {
		rules++
		if result.Error != nil {
			expression := result.ExpressionAccessor.GetExpression()
			errs = append(errs, fmt.Errorf("policy %s: %q: %w", policy.Name, expression, result.Error))
		}
	}
	compile := func(expression policycel.ExpressionAccessor) {
		check(compiler.CompileCELExpression(expression, declared, environment.NewExpressions))
	}
	for _, each := range policy.Spec.MatchConditions {
		compile(&matchconditions.MatchCondition{Name: each.Name, Expression: each.Expression})
	}
	for _, each := range policy.Spec.Variables {
		variable := &validating.Variable{Name: each.Name, Expression: each.Expression}
		check(compiler.CompileAndStoreVariable(variable, declared, environment.NewExpressions))
	}
	for _, each := range policy.Spec.Validations {
		compile(&validating.ValidationCondition{Expression: each.Expression})
		if each.MessageExpression != "" {
			compile(&validating.MessageExpressionCondition{MessageExpression: each.MessageExpression})
		}
	}
	return rules, errs
}
