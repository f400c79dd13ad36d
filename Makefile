# The everyday commands; `make help` lists them. CI calls the same ones (.ci/run).
SHELL := /bin/bash
.DEFAULT_GOAL := help
FILTER ?=
SANITIZE ?=
BINARY := .build/release/callflow-fast
SOURCES := Sources Tests Benchmarks/Sources Package.swift Benchmarks/Package.swift

test_flags := $(if $(FILTER),--filter $(FILTER)) $(if $(SANITIZE),--sanitize=$(SANITIZE) --scratch-path .build-$(SANITIZE))

.PHONY: help setup build release test conformance integration db-up db-down asterisk-lab test-asterisk lint format run chaos bench bench-path bench-store bench-reactor bench-check clean version

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing from Debian's packages and check the Swift toolchain
	@Scripts/setup

build: setup ## Build everything, tests included, for debugging
	swift build --build-tests

release: setup ## Build the daemon as it is deployed
	swift build -c release --product callflow-fast

# Those that start processes run by themselves: beside the others they would wait for a thread and not for the daemon.
test: setup ## Run all tests (FILTER=name for some, SANITIZE=address|thread|undefined)
	swift test $(test_flags) $(if $(FILTER),,--skip IntegrationTests)
	$(if $(FILTER),,swift test --skip-build $(test_flags) --filter IntegrationTests)

conformance: setup ## Run the tests that hold the RFCs true, by section
	swift test --filter ConformanceTests

integration: setup ## Run the tests that start the daemon as a process
	swift test --filter IntegrationTests

asterisk-lab: ## Build real Asterisk 22 and 16 to test against (root, Debian's mirror; LAB=folder)
	@Scripts/asterisk-lab

test-asterisk: release ## Run what needs a real Asterisk (MINUTES=10 for the long proofs); said aloud when there can be none
	@Scripts/test-asterisk

chaos: setup ## Kill, cut and freeze for MINUTES=10, and compare what is stored with what was sent (CHAOS_SEED=n repeats)
	CHAOS_MINUTES=$(or $(MINUTES),10) swift test --filter ChaosTests

db-up: ## Start a private PostgreSQL for trying things out; prints its URL
	@Scripts/db up

db-down: ## Stop it and remove it
	@Scripts/db down

lint: ## Check the formatting rules, change nothing
	swift format lint --strict --recursive $(wildcard $(SOURCES))

format: ## Format all sources in place
	swift format --in-place --recursive $(wildcard $(SOURCES))

run: release ## Run the daemon with a simulated PBX and a fake Bitrix24 on SQLite (ARI_URL set: with your PBX)
	@Scripts/run

bench: release bench-store ## Measure the first figures of PERFORMANCE.md (needs PostgreSQL's programs, a few minutes)
	@Scripts/bench

bench-path: ## Measure what one event costs within a loop, from recorded streams
	swift run -c release --package-path Benchmarks path-bench

bench-store: ## Measure how fast and how soon rows are durable, beside COPY and single INSERTs (a few minutes)
	swift run -c release --package-path Benchmarks store-bench

bench-reactor: ## Measure what input costs a loop, under both drivers
	swift run -c release --package-path Benchmarks reactor-bench --features
	swift run -c release --package-path Benchmarks reactor-bench --paced

bench-check: ## Compare what repeats, allocations and system calls per event, with the limits in Benchmarks/Thresholds
	swift run -c release --package-path Benchmarks path-bench --check Benchmarks/Thresholds/path.json
	swift run -c release --package-path Benchmarks reactor-bench --check Benchmarks/Thresholds/reactor.json

clean: ## Remove what was built
	rm -rf .build .build-* Benchmarks/.build run
