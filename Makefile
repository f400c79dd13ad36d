# The everyday commands; `make help` lists them. CI calls the same ones (.ci/run).
SHELL := /bin/bash
.DEFAULT_GOAL := help
FILTER ?=
SCENARIO ?=
SANITIZE ?=
PORTABLE ?=
SECONDS ?= 60
TARGET ?=
BINARY := .build/release/callflow-fast
SOURCES := Sources Tests Fuzzing/FuzzTargets Fuzzing/Entry Benchmarks/Sources Benchmarks/ProtocolProbe Benchmarks/Micro/Sources Benchmarks/Peers Package.swift Benchmarks/Package.swift

# swiftc knows no undefined-behaviour sanitizer on Linux; the C is checked by it, and Swift checks itself. A finding is a trap.
sanitizer = $(if $(filter undefined,$(SANITIZE)),-Xcc -fsanitize=undefined -Xcc -fsanitize-trap=undefined,--sanitize=$(SANITIZE))
test_flags := $(if $(FILTER),--filter $(FILTER)) $(if $(PORTABLE),-Xcc -DCSCAN_PORTABLE --scratch-path .build-portable) $(if $(SANITIZE),$(sanitizer) --scratch-path .build-$(SANITIZE))

# The daemon's objects live as long as it does, and LeakSanitizer does not see Swift's weak references: leaks are looked for in the
# libraries only (make leaks).
sanitized := $(if $(filter address,$(SANITIZE)),ASAN_OPTIONS=detect_leaks=0)

.PHONY: help setup build release test leaks conformance integration fuzz db-up db-down asterisk-lab test-asterisk lint format run fake-bitrix24 chaos bench bench-list bench-path bench-intake bench-series bench-reconcile bench-consumers bench-micro soak bench-store bench-crm bench-reactor bench-peers bench-check clean version

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing from Debian's packages and check the Swift toolchain
	@Scripts/setup

build: setup ## Build everything, tests included, for debugging
	swift build --build-tests

release: setup ## Build the daemon as it is deployed
	swift build -c release --product callflow-fast >&2

# Those that start processes run by themselves: beside the others they would wait for a thread and not for the daemon.
test: setup ## Run all tests (FILTER=name for some, SANITIZE=address|thread|undefined, PORTABLE=1: without wide instructions)
	@$(sanitized) Scripts/test $(test_flags) $(if $(FILTER),,--skip IntegrationTests)
	@$(if $(FILTER),,$(sanitized) Scripts/test --skip-build $(test_flags) --filter IntegrationTests)

leaks: setup ## Look for memory that the protocols, the call engine and the reactor lose (AddressSanitizer)
	LSAN_OPTIONS=suppressions=$(CURDIR)/Tests/leaks.txt:print_suppressions=0 Scripts/test --sanitize=address \
	    --scratch-path .build-address --filter '^(ProtocolsTests|ConformanceTests|CallEngineTests|ReactorTests)\.'

conformance: setup ## Run the tests that hold the RFCs true, by section
	swift test --filter ConformanceTests

integration: setup ## Run the tests that start the daemon as a process
	swift test --filter IntegrationTests

asterisk-lab: ## Build real Asterisk 22 and 16 to test against (root, Debian's mirror; LAB=folder)
	@Scripts/asterisk-lab

test-asterisk: release ## Run what needs a real Asterisk (MINUTES=10 for the long proofs); said aloud when there can be none
	@Scripts/test-asterisk

chaos: setup ## Kill, cut and freeze for MINUTES=10, and compare what is stored with what was sent (CHAOS_SEED=n repeats)
	CHAOS_MINUTES=$(or $(MINUTES),10) swift test --filter 'ChaosTests|CRMKillTests'
	CHAOS_MINUTES=$(or $(MINUTES),10) swift test --filter LedgerFaultTests

fuzz: setup ## Fuzz the parsers, each target for SECONDS=60 (TARGET=json|websocket|http-request|… for one)
	@Fuzzing/run $(SECONDS) $(TARGET)

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

fake-bitrix24: release ## Run the fake Bitrix24 alone (CRM_PORT, 18090): page, ledger at /effects, clicks at /click?user=&number=
	$(BINARY) simulate --no-pbx --crm-port $(or $(CRM_PORT),18090) $(if $(EVENTS_URL),--crm-events $(EVENTS_URL))

bench: release ## Measure all figures of PERFORMANCE.md into one report (an hour), or some loads only: SCENARIO="calls-5000 blast …" (names: bench-list)
ifeq ($(SCENARIO),)
	@Scripts/bench
else
	swift run -c release --package-path Benchmarks callflow-load $(SCENARIO) --json Benchmarks/.build/load.json
	Benchmarks/plot Benchmarks/.build/load.json Benchmarks/.build/load.svg
endif

bench-list: ## List the loads that `make bench SCENARIO=…` knows
	@swift run -c release --package-path Benchmarks callflow-load --list

bench-path: ## Measure what one event costs within a loop, from recorded streams, and with 50,000 calls at once
	swift run -c release --package-path Benchmarks path-bench
	swift run -c release --package-path Benchmarks path-bench --crowd 50000

bench-intake: ## Measure how many events a second one core takes off a loopback connection, up to the rows (1.5 minutes)
	swift run -c release --package-path Benchmarks intake-bench --bar 400000

bench-series: release ## Measure and draw cost, latency and memory over rate, calls and PBXs, and where time goes (10 minutes)
	swift build -c release --package-path Benchmarks --product callflow-load >&2
	Scripts/bench-series

bench-reconcile: release ## Measure for how long events wait while a PBX with 5,000 open calls is compared, after kills and lost links
	Scripts/bench-reconcile

bench-consumers: release ## Give one stream to the daemon, and to Python and SwiftNIO programs of the same job
	swift build -c release --package-path Benchmarks/Peers/nio-consumer >&2
	python3 -m venv Benchmarks/.build/peers/python
	Benchmarks/.build/peers/python/bin/pip -q install -r Benchmarks/Peers/consumers/requirements.txt
	swift run -c release --package-path Benchmarks callflow-load --consumers

bench-micro: ## Measure small parts by themselves (FILTER=regular expression for some); baselines: see ordo-one/benchmark
	swift package --package-path Benchmarks/Micro benchmark $(if $(FILTER),--filter "$(FILTER)")

bench-store: ## Measure how fast and how soon rows are durable, beside COPY and single INSERTs (a few minutes)
	swift run -c release --package-path Benchmarks store-bench

bench-crm: release ## Measure a backlog on its way to Bitrix24, an event's way with the portal away, memory with 100,000 steps (3 minutes)
	Benchmarks/crm

bench-reactor: ## Measure what input costs a loop, under both drivers
	swift run -c release --package-path Benchmarks reactor-bench --features
	swift run -c release --package-path Benchmarks reactor-bench --paced

soak: release ## Two minutes of 5,000 calls on PostgreSQL: nothing may be lost, memory must stay flat (MINUTES=60; RATE=1000 for so many calls and events/s)
	swift run -c release --package-path Benchmarks callflow-load soak $(if $(MINUTES),--seconds $$(($(MINUTES) * 60))) \
	    $(if $(RATE),--calls $(RATE) --events-per-second $(RATE)) --json Benchmarks/.build/soak.json

bench-check: ## Compare what repeats, allocations, instructions and system calls per event, with the limits in Benchmarks/Thresholds
	@Scripts/setup --guards
	swift run -c release --package-path Benchmarks path-bench --check Benchmarks/Thresholds/path.json
	Scripts/count-instructions Benchmarks/Thresholds/instructions.tsv
	swift run -c release --package-path Benchmarks reactor-bench --check Benchmarks/Thresholds/reactor.json

# Peers lie outside this repository; what is not there is left out aloud.
SIMDJSON_INCLUDE ?= /usr/include
SIMDJSON_LIBRARY ?= $(firstword $(wildcard /usr/lib/*/libsimdjson.so))
SIMDJSON_NEW_INCLUDE ?=
SIMDJSON_NEW_LIBRARY ?=
UWS_INCLUDE ?=
USOCKETS_INCLUDE ?=
USOCKETS_LIBRARY ?=
NIO ?=
PEER_OUT := Benchmarks/.build/peers
peer_flags := -O3 -march=native -std=c++17 -DNDEBUG -shared -fPIC -fvisibility=hidden

bench-peers: ## Measure beside simdjson (SIMDJSON_{,NEW_}{INCLUDE,LIBRARY}=…), Foundation, uWebSockets (UWS_INCLUDE, USOCKETS_{INCLUDE,LIBRARY}), SwiftNIO (NIO=1)
	@mkdir -p $(PEER_OUT); rm -f $(PEER_OUT)/*.so
	@if [ -e "$(SIMDJSON_INCLUDE)/simdjson.h" ] && [ -e "$(SIMDJSON_LIBRARY)" ]; then \
	    clang++ $(peer_flags) -I$(SIMDJSON_INCLUDE) Benchmarks/Peers/simdjson_peer.cpp $(SIMDJSON_LIBRARY) -o $(PEER_OUT)/simdjson.so; \
	else echo "bench-peers: no simdjson in $(SIMDJSON_INCLUDE); LEFT OUT" >&2; fi
	@if [ -e "$(SIMDJSON_NEW_INCLUDE)/simdjson.h" ] && [ -e "$(SIMDJSON_NEW_LIBRARY)" ]; then \
	    clang++ $(peer_flags) -I$(SIMDJSON_NEW_INCLUDE) Benchmarks/Peers/simdjson_peer.cpp $(SIMDJSON_NEW_LIBRARY) -o $(PEER_OUT)/simdjson-new.so; \
	else echo "bench-peers: SIMDJSON_NEW_INCLUDE and SIMDJSON_NEW_LIBRARY name no newer simdjson; LEFT OUT" >&2; fi
	swift build -c release --package-path Benchmarks --product peer-bench >&2
	Benchmarks/.build/release/peer-bench $$(ls $(PEER_OUT)/*.so 2>/dev/null)
	clang -O2 -Wall -Wextra Benchmarks/Peers/ws-load.c -o $(PEER_OUT)/ws-load
	@if [ -e "$(UWS_INCLUDE)/App.h" ] && [ -e "$(USOCKETS_LIBRARY)" ]; then \
	    clang++ -O3 -march=native -std=c++20 -DNDEBUG -DUWS_NO_ZLIB -I$(UWS_INCLUDE) -I$(USOCKETS_INCLUDE) \
	        Benchmarks/Peers/uws-echo.cpp $(USOCKETS_LIBRARY) -o $(PEER_OUT)/uws-echo; fi
	@if [ -n "$(NIO)" ]; then swift build -c release --package-path Benchmarks/Peers/nio-echo >&2; fi
	swift build -c release --package-path Benchmarks --product protocol-probe >&2
	Benchmarks/Peers/ws-servers

clean: ## Remove what was built
	rm -rf .build .build-* Benchmarks/.build Benchmarks/*/.build Benchmarks/Peers/*/.build Fuzzing/.build run
