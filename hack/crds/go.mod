// Where test/chart finds the resource definitions of others, against which the apiserver validates what the chart makes of
// their kinds: their YAML is in the modules. Nothing is built, and no package is imported, so `go mod tidy` is not for this
// file: a version changes with `go get MODULE@VERSION` here.
module github.com/letmepost/letmepost-operator/hack/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
)
