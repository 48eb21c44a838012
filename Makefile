# Every target sets up what it needs, in .venv, on a machine with Python 3.11 or later; none needs root.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs release clean
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
PY := $(VENV)/bin/python
RUNS := codec relay latency append consume rebuild transports
# what pip says, a line for each package, and no more
SHORTLY := sed -u -n -E 's/^Collecting ([^ ]+).*/  \1/p; s/^Installing collected packages.*/  ... unpacking/p; s/^(ERROR.*)/\1/p'
CODE := $(wildcard eventkit tests examples benchmarks migrations scripts)
# the first Python here that is new enough; `make PYTHON=/path/to/python` overrides
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)

help: ## Say what there is to make
	@echo "eventkit: append events in your own transaction, relay them in order, fold them once."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="..." is handed on:  make demo ARGS="--all"   make test ARGS="tests/storage -x"   make bench ARGS="--json"'

demo: $(VENV)/.demo ## A month of real flights through the whole of it, with processes killed on the way (a minute)
	@$(PY) -m examples.flights $(ARGS)

test: export PYTHONDONTWRITEBYTECODE := # or each of a thousand processes compiles eventkit again
test: $(VENV)/.dev ## All tests, on a real PostgreSQL and real brokers; says which could not run, and why
	@$(PY) -m tests.servers fetch
	@$(PY) -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.dev ## Lint, format, types, layers, and migrations against the tables
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/mypy --strict $(CODE)
	$(VENV)/bin/lint-imports
	$(PY) -m tests.servers postgres -- sh -c '$(VENV)/bin/alembic upgrade head && $(VENV)/bin/alembic check'

bench: $(VENV)/.dev ## How fast all of it is, beside the raw parts on this machine; `RUNS="scale peers"` for those that take an hour
	@$(PY) -m tests.servers fetch
	@for run in $(RUNS); do $(PY) -m benchmarks $$run $(ARGS); done

docs: $(VENV)/.dev ## Hold the documents to the code, and build them as a site in build/site; ARGS=serve shows it
	@$(PY) scripts/check_docs.py
	@$(PY) scripts/reference.py --check
	@$(PY) scripts/prose.py
	@$(PY) scripts/site.py $(ARGS)

release: $(VENV)/.dev $(VENV)/.release ## Build and check sdist, wheel and bill of materials in dist/; nothing is uploaded
	@$(PY) scripts/release.py $(ARGS)

clean: ## Remove what make made
	rm -rf $(VENV) .servers build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment: a stamp for each set of extras, older than pyproject.toml means install again

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "eventkit needs Python 3.11 or later, and there is none on the PATH: install one, or say make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: python3-venv)" >&2; exit 1; }

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "installing eventkit and what the demo needs into $(VENV) ..."
	@$(PY) -m pip install --disable-pip-version-check --progress-bar off --editable '.[demo]' | $(SHORTLY)
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing eventkit and its development tools into $(VENV) ..."
	@$(PY) -m pip install --disable-pip-version-check --progress-bar off --editable '.[dev]' | $(SHORTLY)
	@touch $@ $(VENV)/.demo

$(VENV)/.release: pyproject.toml | $(VENV)/bin/python
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[release]'
	@touch $@
