SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# All that is built without the race detector is built in one way, which is that of the images, so that Go's build cache
# has each package once: for a first `make up`, most of the time goes into compiling Kubernetes' libraries.
ONE_WAY = CGO_ENABLED=0 GOFLAGS="-trimpath -tags=grpcnotrace $${GOFLAGS:-}"
GO = $(ONE_WAY) go

# Go's compiler and linker end before they have made much garbage: without their collector, up to a bound, a build takes
# a seventh less of processor time, and without what only a debugger reads, a sixth less of the rest. For a debugger, run
# `go build` by hand. The first is not in the environment of what is built and run, and not in what is cached; the second
# is, so that all that builds has it: hack/gobuild.sh, hack/image and hack/plugin as well.
#
# What `go vet` finds, `make lint` has found: `go test` would have it look, for each way of building, at all that the
# tests depend on, before the first of them runs.
NO_COLLECTOR = env GOGC=off GOMEMLIMIT=1500MiB
COMPILER = -gcflags=all=-dwarf=false '-toolexec=$(NO_COLLECTOR)'
# In `make test`, the compiler gives way to what runs beside it, which has clocks to keep.
GIVING_WAY = '-toolexec=nice -n 10 $(NO_COLLECTOR)'
ifeq (,$(findstring -toolexec,$(GOFLAGS)))
export GOFLAGS := $(GOFLAGS) -vet=off $(COMPILER)
endif

# With the race detector, all is instrumented but SQLite's C, as Go, and its C library: their memory comes from the
# kernel, where the detector sees nothing, and calling it at each access there takes two thirds of the time of a test
# that writes to SQLite. The driver is instrumented, and so is all that is Go by birth.
C_AS_GO = modernc.org/sqlite/lib modernc.org/libc/... modernc.org/memory
RACE = CGO_ENABLED=1 go test -race $(foreach p,$(C_AS_GO),'-gcflags=$(p)=-dwarf=false -race=false')

# How many seconds each fuzz target runs: in `make test`, and in `make soak`.
FUZZTIME ?= 15
SOAK_FUZZTIME ?= 60
# How long the hostile tenant, and about how long the fault schedules, are at it in `make soak`.
SOAK ?= 10m
# What go does side by side in `make test`: two packages (hack/turn.sh), and compiling the next.
TESTJOBS ?= 3

# The version that `make e2e` upgrades from: test/e2e/testdata has its chart, the project's history its processes.
PREVIOUS = 0.1.0

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: controlplane build ## Run everything on a real control plane; LIVE_REPLICAS=3 for three live API processes
	@exec bin/up

.PHONY: down
down: ## Stop what `make up` runs, and remove its state
	@$(GO) build -buildvcs=false -o bin/up ./hack/up
	@exec bin/up down

.PHONY: controlplane
controlplane: ## Build etcd and Kubernetes into bin/k8s (some six minutes the first time)
	@hack/controlplane/build.sh

.PHONY: tools
tools: ## Build the development tools into bin/tools
	@hack/tools/build.sh

.PHONY: helm
helm: # Helm, from Go modules
	@hack/helm/build.sh

.PHONY: chart
chart: helm ## Lint the chart and package it into bin/charts
	@bin/tools/helm lint --strict --quiet charts/letmepost-operator
	@bin/tools/helm package charts/letmepost-operator --destination bin/charts

.PHONY: build
build: ## Build the controller, the API, the gate, the plugin of kubectl and the launcher into bin
	@mkdir -p bin/log
	@source hack/gobuild.sh; began=$$SECONDS; \
	echo "building controller, api, gate and up (first time about 2 min on two cores)"; \
	tick "controller, api, gate and up" bin/log/build.log env $(GO) build -buildvcs=false -o bin/ ./cmd/... ./hack/up \
		|| { cat bin/log/build.log >&2; echo "building controller, api, gate and up failed, see above" >&2; exit 1; }; \
	echo "built controller, api, gate and up in $$((SECONDS - began)) s"

.PHONY: image
image: ## Build the container images into bin/images, for amd64 and arm64
	@$(GO) run ./hack/image

.PHONY: plugin
plugin: ## Build kubectl letmepost: bin/kubectl-letmepost, archives for all platforms and a krew manifest in bin/plugin
	@$(GO) build -buildvcs=false -o bin/ ./cmd/kubectl-letmepost
	@$(GO) run ./hack/plugin -out bin/plugin

.PHONY: image-again
image-again: image # The same input gives the same digest: builds the images from a copy elsewhere, and compares
	@hack/image/again.sh

.PHONY: generate
generate: tools helm ## Regenerate deepcopy code, config/, the chart's schema and README, and the reference in docs/http-api.md
	@bin/tools/controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...
	@bin/tools/controller-gen crd paths=./api/... output:crd:artifacts:config=config/crd
	@$(GO) run ./hack/chart
	@$(GO) run ./hack/apidocs docs/http-api.md

.PHONY: fmt
fmt: tools ## Format the Go code
	@bin/tools/golangci-lint fmt

.PHONY: clean
clean: ## Remove everything that was built
	@rm -rf bin

.PHONY: lint
lint: tools ## Run the linters of .golangci.yml
	@$(ONE_WAY) bin/tools/golangci-lint run ./...

.PHONY: verify
verify: tools ## Regenerate and lint, and fail if that changes a file
	@hack/verify.sh
	@$(MAKE) --no-print-directory lint

.PHONY: promtool
promtool: # Checks and tests the alerts
	@hack/promtool/build.sh

.PHONY: gitleaks
gitleaks: # Looks for keys by our rules, in the tests
	@hack/gitleaks/build.sh

.PHONY: spin
spin: # The model checker, from the distribution's packages
	@hack/spin.sh

.PHONY: services
services: # PostgreSQL and Redis for the tests, from the distribution's packages
	@hack/services.sh

.PHONY: pds
pds: # A server of the AT Protocol for the tests, from npm
	@hack/pds/build.sh

.PHONY: oauth
oauth: # An authorization server for the tests, from npm
	@hack/oauth/build.sh

.PHONY: axe
axe: # What looks for pages that some people can't use, from npm
	@hack/axe/build.sh

.PHONY: browser
browser: # Chromium for the tests, from the distribution's packages
	@hack/browser.sh

.PHONY: proxies
proxies: # nginx, HAProxy and Caddy for the tests, from the distribution's packages, and the newest Caddy from Go modules
	@hack/proxies.sh

.PHONY: test
test: packages proofs ## Run every test with the race detector, then fuzz the parsers for 15 s each

.PHONY: packages
packages: controlplane build spin services proxies pds oauth axe browser helm promtool gitleaks # The tests of all packages
	@rm -f bin/log/turn # of a run before: whoever comes first would take its place for test/integration's
	@# The longest first: it runs beside all others, and not alone when they are done; and so do the next ones, as two run
	@# at a time when it is through. go prints results in this order, and runs what is named twice once.
	@echo "testing; results are printed once test/integration is through, beside which all others run (some 15 min). A"
	@echo "package's time has in it how long it waited for its turn"
	@$(RACE) -timeout 80m -p $(TESTJOBS) $(GIVING_WAY) -exec "$(CURDIR)/hack/turn.sh" ./test/integration \
		./test/chart ./internal/dashboard ./internal/httpapi ./internal/store \
		$$(go list ./... | grep -v -e '/test/integration$$' -e '/test/model$$' -e '/test/e2e$$')

.PHONY: proofs
proofs: spin # What does not wait, and keeps all cores busy: the compiler of rules, allocations, the model, the fuzzers
	@$(GO) test -C hack/controlplane -count=1 . # Kubernetes' own compiler of rules
	@$(GO) test ./internal/authn ./internal/admission ./internal/httpapi -run Allocations # the race detector makes some of its own
	@$(GO) test -timeout 20m ./test/model # by itself: it keeps all cores busy, and others wait for things to happen in time
	@$(ONE_WAY) hack/fuzz.sh $(FUZZTIME)

.PHONY: fuzzers
fuzzers: # Compiles what fuzzes, and runs nothing
	@$(ONE_WAY) hack/fuzz.sh 0

.PHONY: ahead
ahead: fuzzers # Compiles what CI runs when the tests of all packages are through, and runs nothing
	@$(GO) test -C hack/controlplane -exec true .
	@$(GO) test -exec true ./test/e2e

.PHONY: soak
soak: controlplane build services ## The hostile tenant and the fault schedules, for some ten minutes each, and the fuzzers for one; SOAK=2m for less
	@LMP_SOAK=$(SOAK) $(RACE) -v -count=1 -timeout 90m ./test/integration -ginkgo.v \
		-ginkgo.focus 'hostile tenant|Deleting keys while replicas fail|publishing API that is killed|Very many reports'
	@$(ONE_WAY) hack/fuzz.sh $(SOAK_FUZZTIME)

.PHONY: bench
bench: controlplane build pds proxies ## Run the benchmarks, one line a figure
	@$(GO) run ./test/bench

.PHONY: bench-figures
bench-figures: controlplane build proxies ## Measure what docs/benchmarks.md shows, and draw it (some six minutes)
	@$(GO) run ./test/bench -run '^(authenticate|gate|proxies|refusal|gatememory)$$' -figures docs/figures

.PHONY: node
node: ## Build the Kubernetes node that `make e2e` runs (some nine minutes the first time)
	@hack/node.sh
	@hack/controlplane/build.sh node
	@hack/containerd/build.sh
	@hack/coredns/build.sh
	@hack/helm/build.sh
	@source hack/gobuild.sh; mkdir -p bin/log; began=$$SECONDS; export $(ONE_WAY); build="go build -buildvcs=false"; \
	echo "building the node's launcher and the app for its pods"; \
	tick "launcher and app" bin/log/node.log bash -c "$$build -o bin/node ./test/node && \
		$$build -ldflags='-s -w' -o bin/k8s/pause ./test/node/pause && $$build -ldflags='-s -w' -o bin/app ./test/e2e/app" \
		|| { cat bin/log/node.log >&2; echo "building the node's launcher and the app failed, see above" >&2; exit 1; }; \
	echo "built launcher and app in $$((SECONDS - began)) s"

.PHONY: previous
previous: # The processes of the version that `make e2e` upgrades from
	@hack/previous/build.sh

.PHONY: e2e
e2e: node image previous ## Prove the installed product on a real Kubernetes node; as root: its pods are real containers
	@echo "building the tests, then starting the node"
	@$(GO) test -count=1 -v -timeout 20m -exec "$(CURDIR)/bin/node -logs $(CURDIR)/bin/log/node -image letmepost/app:e2e=$(CURDIR)/bin/app \
		-image $(CURDIR)/bin/images/controller.tar -image $(CURDIR)/bin/images/api.tar \
		-image letmepost/controller:$(PREVIOUS)=$(CURDIR)/bin/previous/controller -image letmepost/api:$(PREVIOUS)=$(CURDIR)/bin/previous/api --" ./test/e2e
