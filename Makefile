# The two that a newcomer needs: `make demo` and `make test`. Both install what is missing, where they may, and build.
# Builds go to ~/.cache/sealstone/target (SEALSTONE_TARGET or CARGO_TARGET_DIR move them).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup build demo test unit model interop conformance bench bench-quick fuzz fmt lint

PATHS := . tests/setup/paths.sh

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what build, tests and demo need (names what it may not install)
	@tests/setup/install.sh demo conformance clients runners examples

build: ## compile everything (RocksDB once: 20 to 30 minutes on two cores)
	@tests/setup/install.sh build
	@tests/setup/build.sh

demo: ## the main job on a real model, what is refused, and a model that somebody else has to make again
	@tests/setup/install.sh demo
	@tests/setup/with_build.sh deploy/demo/demo.sh

# By name: a line with make's own variable in it is run by `make -n` as well, and this one builds.
test: ## all tests: unit, end to end, and real clients
	@tests/setup/install.sh demo clients runners examples
	@tests/setup/with_build.sh make --no-print-directory unit interop

unit: ## only cargo's tests; counts what this machine cannot test
	@$(PATHS); export SEALSTONE_SKIPPED="$$(mktemp)"; code=0; \
	cargo test --workspace --locked --no-fail-fast --lib --bins --tests </dev/null || code=$$?; \
	cargo test --workspace --locked --no-fail-fast --doc </dev/null || code=$$?; \
	echo "unit: $$(wc -l <"$$SEALSTONE_SKIPPED") tests or parts of tests could not be made on this machine"; \
	cat "$$SEALSTONE_SKIPPED"; rm -f "$$SEALSTONE_SKIPPED"; exit $$code

model: ## the collector's protocol in larger worlds: every state, some minutes
	@$(PATHS); cargo test --workspace --locked --lib model:: -- --include-ignored --nocapture </dev/null

interop: ## only the real clients (fails without skopeo, podman, oras-py, curl and docker-registry), and our client against a plain OCI registry (needs `make build`)
	@$(PATHS); python3 tests/interop/run.py $(ARGS) && python3 tests/interop/run.py --server debian --only sealstone

conformance: ## the OCI conformance suite against the real binary: zero failures, zero skips
	@tests/setup/install.sh conformance
	@tests/setup/with_build.sh tests/conformance/run.sh

bench: ## the benchmark with its peers (about 20 minutes; ARGS="--only large" for a part, "--only compare", "--only replays" and "--only decisions" for what has no peers)
	@tests/setup/install.sh build peers
	@$(PATHS); python3 tests/bench/bench.py $(ARGS)

bench-quick: ## the benchmark at small sizes, a few minutes
	@tests/setup/install.sh build peers
	@$(PATHS); python3 tests/bench/bench.py --quick $(ARGS)

fuzz: ## the fuzz targets, 20 s each (FUZZ_SECONDS, ARGS=TARGET)
	@tests/setup/install.sh build
	@tests/setup/fuzz.sh $(ARGS)

fmt: ## format the code
	@cargo fmt --all

lint: ## formatting and clippy, warnings denied
	@cargo fmt --all --check
	@tests/setup/install.sh build
	@$(PATHS); cargo clippy --workspace --all-targets --locked -- -D warnings </dev/null
