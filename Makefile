# Needs go, make, git and bash; e2e also node and npm.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

FUZZTIME ?= 2s
BENCH ?= .
PKG ?= ./...

# Nothing of ours needs cgo, and all steps but one do without, so that they share
# what is compiled.
export CGO_ENABLED := 0

# Tools are built from source into a folder of the project, under a name that
# carries the version, so that raising a version here is all there is to do.
GOLANGCI_VERSION := v2.15.0
BIN := $(CURDIR)/.bin
GOLANGCI := $(BIN)/golangci-lint-$(GOLANGCI_VERSION)

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: ci
ci: export PDSKIT_REQUIRE_INTEROP = 1
ci: ## everything that continuous integration checks
	@for target in check build test lint checkgenerate race fuzz e2e; do \
		printf '\n==> make %s\n' "$$target"; start=$$SECONDS; \
		$(MAKE) "$$target"; \
		printf '<== %s: %d s\n' "$$target" "$$((SECONDS - start))"; \
	done

.PHONY: check
check: ## formatting and module files
	@out=$$(gofmt -l $$(git ls-files '*.go')); \
	if [[ -n $$out ]]; then printf 'not gofmt-clean:\n%s\n' "$$out"; exit 1; fi
	go mod verify

.PHONY: build
build: ## compile everything without cgo
	go build ./...

.PHONY: test
test: ## the tests, as the README has it
	go test ./...

# The race detector needs cgo. It does not look into SQLite, which is C in Go's
# clothes and would take most of the time. "make lint" vets the tests.
RACE := CGO_ENABLED=1 go test -race -vet=off -gcflags='modernc.org/...=-race=false' -timeout 10m

.PHONY: race
race: ## the tests under the race detector: in short, but the concurrent writers in full
	$(RACE) -short $(PKG)
	$(RACE) -run '^(TestConcurrentWriters|TestNoLostUpdates|TestSwapCommit)' ./pds

.PHONY: lint
lint: $(GOLANGCI) ## the linters of .golangci.yml
	$(GOLANGCI) run $(PKG)

$(GOLANGCI):
	@mkdir -p $(BIN)/tmp
	GOBIN=$(BIN)/tmp GOFLAGS= go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(BIN)/tmp/golangci-lint $@

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (2s)
	.ci/fuzz $(FUZZTIME) $(PKG)

.PHONY: bench
bench: ## the benchmarks; BENCH and PKG choose some
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

.PHONY: generate
generate: ## make generated files again
	go generate ./...

.PHONY: checkgenerate
checkgenerate: ## fail if generated files are not what the generators make
	@state() { git status --porcelain; git diff HEAD; git ls-files -z --others --exclude-standard | xargs -0 -r cksum; }; \
	before=$$(state); \
	$(MAKE) generate; \
	if [[ $$before != "$$(state)" ]]; then \
		echo 'generated files differ:'; git status --short; git --no-pager diff --stat; exit 1; \
	fi

.PHONY: e2e
e2e: ## clients of others against our server
	@if [[ -x e2e/run.sh ]]; then e2e/run.sh; else echo 'there is no e2e/run.sh'; exit 1; fi

.PHONY: clean
clean: ## remove built tools
	rm -rf $(BIN)
