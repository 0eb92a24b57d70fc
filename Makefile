# The menu: CI calls these same names. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.PHONY: help setup build fmt lint test test-kafka test-s3 test-alertmanager test-goldmane test-cluster test-faults test-ledger fuzz demo bench quality quality-brief docs clean

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  %-17s %s\n' "$$name" "$$text"; done

setup: ## Install the system packages every target may need (as root), or name them
	tools/setup.sh all

build: ## Build everything
	tools/setup.sh build
	cargo build --workspace

fmt: ## Format the sources
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

lint: ## Check formatting and run clippy, warnings are errors
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings

# Under plain cargo the tests that need a server say DID NOT RUN, also in CI: the tiers behind run them.
test: ## Formatting, clippy, every test, and the sinks against real servers: Kafka, S3, Alertmanager
	tools/setup.sh build
	$(MAKE) --no-print-directory lint
	env -u CI -u CATCHMENT_TEST_KAFKA -u CATCHMENT_TEST_S3 -u CATCHMENT_TEST_ALERTMANAGER -u CATCHMENT_GOLDMANE -u CATCHMENT_TEST_CLUSTER cargo test --workspace
	tools/tiers.sh kafka s3 alertmanager

test-kafka: ## The Kafka tests against a real broker (needs java and mvn)
	tools/tier.sh kafka

test-s3: ## The object store tests against a real S3 server (needs go)
	tools/tier.sh s3

test-alertmanager: ## The alerts against a real Alertmanager (needs prometheus-alertmanager)
	tools/tier.sh alertmanager

test-goldmane: ## What a real collector answers, at CATCHMENT_GOLDMANE=host:port that nobody else reads
	@[ -n "$$CATCHMENT_GOLDMANE" ] || { echo "tier goldmane DID NOT RUN: set CATCHMENT_GOLDMANE=host:port" >&2; exit 3; }
	cargo test -p catchment-simulator --test conformance

test-cluster: ## The Kubernetes tests against real API servers, built once in some minutes (needs go)
	tools/tier.sh cluster

test-ledger: ## What is published against the truth, over Kafka and S3 (needs java, mvn, go, kcat and python3)
	tools/ledger.sh

test-faults: ## The same rows whatever fails: process, broker, store, disk, clock; FAULTS_SIZE=full for 3M flows
	tools/faults.sh

fuzz: ## Every decoder against its oracle, FUZZ_SECONDS (20) each, on the stable compiler
	fuzz/run.sh

demo: ## The main job end to end: simulated cluster, Kafka, Parquet, compared with the truth
	tools/demo.sh

bench: ## Benchmarks of the stages
	cargo bench -p catchment-benches

quality: ## What findings find and make up over planted truth, some minutes; rewrites docs/quality.md
	cargo run --release -p catchment-quality -- full docs/quality.md

quality-brief: ## The same over three clusters, and memory at a million keys; fails where either is beyond its bar
	tools/quality.sh

docs: ## Reference documentation of every crate, in target/doc
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

clean: ## Remove everything built
	cargo clean
