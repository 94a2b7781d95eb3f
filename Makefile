# The tasks of the project; `make help` lists them.
# The first target installs what is missing: uv in .tools/ (unless it is on PATH), the pinned packages in .venv/.

PYTHON ?= python3
IMAGE ?= workspace/datasets/samples/cat.jpg
PERSPECTIVE ?= alt_text
ARGS ?=
MODEL ?=
PROVIDER ?= $(if $(MODEL),local)
# One process per test file, so that the servers of a file start once.
PARALLEL ?= --numprocesses auto --dist loadfile
# The slow tests wait for a third of their time, so one process more than the processor has cores.
SLOW ?= --numprocesses $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --no-loadscope-reorder

BIN := .venv/bin
VERSION = $(shell sed -n 's/__version__ = "\(.*\)"/\1/p' bridge/version.py)
SYSTEM_UV := $(shell command -v uv 2>/dev/null)
UV := $(or $(SYSTEM_UV),.tools/bin/uv)
UV_READY := $(if $(SYSTEM_UV),,.tools/ready)
SYNC := $(UV) pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
LOCK := pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url $(if $(UPGRADE),--upgrade)

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore
export UV_PYTHON_DOWNLOADS = never
# Use the system's certificate store where there is one: it may hold a private certificate authority.
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs/ca-certificates.crt),true,false)

.DEFAULT_GOAL := help
.PHONY: help setup caption serve test coverage test-all test-live bench bench-long check lint format docs client lock \
	image release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/ready ## install uv and the packages (every other target does so when needed)
	@:

caption: .venv/ready ## caption a sample photo, or IMAGE=… with PERSPECTIVE=… and MODEL=… (of the provider local)
	@$(BIN)/graphcap caption "$(IMAGE)" --perspective "$(PERSPECTIVE)" \
		$(if $(PROVIDER),--provider "$(PROVIDER)") $(if $(MODEL),--model "$(MODEL)") $(ARGS)

serve: .venv/ready ## run the service on http://127.0.0.1:32100
	@$(BIN)/graphcap serve $(ARGS)

test: .venv/ready ## run the quick tests (at most 180 CPU seconds)
	$(BIN)/pytest $(PARALLEL) -m "not slow and not live" $(COVERAGE) $(ARGS)

coverage: COVERAGE = --cov --cov-report=term
coverage: test ## run the quick tests, measure their coverage and print it (half as much CPU again)

test-all: test ## run the quick and the slow tests (20 minutes on two cores); a missing program skips its tests
	$(BIN)/pytest $(PARALLEL) $(SLOW) -m "slow and not live" $(ARGS)

test-live: .venv/ready ## run the contract tests against the real providers whose keys are set
	$(BIN)/pytest -m live $(ARGS)

bench: .venv/ready ## measure the figures of docs/performance.md (6 minutes; ARGS=--record writes them)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-long: .venv/ready ## measure overload, memory, malformed images, untrusted schemas, batches and local (30 minutes)
	@$(BIN)/python -m benchmarks --long $(ARGS)

check: lint test ## run lint and test, before a commit

lint: .venv/ready ## check format, style, types, layers, generated tables and the Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m docs.generate --check
	$(BIN)/hadolint Dockerfile

format: .venv/ready ## format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/ready ## write openapi.json and the generated tables in README.md and docs/
	$(BIN)/python -m docs.openapi
	$(BIN)/python -m docs.generate

client: docs ## write the generated files of clients/javascript (needs npm)
	cd clients/javascript && npm ci --ignore-scripts --no-audit --no-fund && npm run generate

lock: $(UV_READY) ## pin the packages of pyproject.toml with their hashes (UPGRADE=1: newer releases)
	$(UV) $(LOCK) --python-version 3.11 --group dev --all-extras --output-file requirements.lock pyproject.toml
	echo uv | $(UV) $(LOCK) --no-annotate --output-file .ci/uv.txt -

image: ## build the container image graphcap-bridge, tagged with the version (needs Docker)
	docker build --tag graphcap-bridge:$(VERSION) --tag graphcap-bridge:latest $(ARGS) .

release: check ## run make check, build the wheel and the sdist in dist/, check the wheel, and tag the version
	@test -z "$$(git status --porcelain)" || { echo "Commit all changes first: git status." >&2; exit 1; }
	rm -rf dist
	$(UV) build --quiet --offline --no-build-isolation --python $(BIN)/python --out-dir dist
	$(UV) pip install --quiet --offline --no-deps --target dist/check dist/*.whl
	cd dist && PYTHONPATH=check ../$(BIN)/python -m bridge.cli perspectives check && rm -r check
	git tag --annotate v$(VERSION) --message "Version $(VERSION)"
	@echo "Tagged v$(VERSION). Publish: git push origin v$(VERSION), then the files in dist/."

clean: ## remove everything that make created, .venv and .tools included
	rm -rf clients/javascript/node_modules .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* dist
	find bridge perspectives providers tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

define require_python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "graphcap bridge needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
	echo "Choose another one: make PYTHON=python3.12 …" >&2; exit 1; }
endef

# Without ensurepip a venv has no pip. The system's pip may then install into a folder (PEP 668 forbids the rest).
.tools/ready: .ci/uv.txt
	$(require_python)
	@echo "Installing uv in .tools/ (once)" >&2
	@rm -rf .tools && mkdir -p .tools/bin
	@if $(PYTHON) -m venv .tools/uv >/dev/null 2>&1; then \
		.tools/uv/bin/python -m pip install --quiet --require-hashes -r .ci/uv.txt; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		rm -rf .tools/uv; \
		$(PYTHON) -m pip install --quiet --require-hashes --target .tools/uv -r .ci/uv.txt; \
	else \
		echo "$(PYTHON) has neither venv nor pip. On Debian: apt-get install python3-venv" >&2; exit 1; \
	fi
	@ln -s ../uv/bin/uv .tools/bin/uv && touch $@

# Install from uv's cache where possible; use the package index only for what is missing there.
.venv/synced: requirements.lock | $(UV_READY)
	$(require_python)
	@echo "Installing the pinned packages in .venv/ (once)" >&2
	@$(BIN)/python -c '' 2>/dev/null || \
		$(UV) venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	@$(SYNC) --offline 2>/dev/null || $(SYNC)
	@touch $@

# Install the project itself as editable.
.venv/ready: .venv/synced pyproject.toml
	@$(UV) pip install --quiet --offline --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@
