# Everything from a fresh machine that has Python >= 3.11 (with venv) and make.
#
#   make demo    compile the examples, train digits, leave the pictures in demo/
#   make test    formatting, lint, types and the whole test suite
#
# PYTHON=python3.12 chooses the interpreter, VENV=/elsewhere the environment.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BENCH ?= bench
PYTEST_ARGS ?= -n auto
BENCH_ARGS ?=

BIN := $(VENV)/bin
MODELS := $(sort $(wildcard examples/*.npde))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-full bench lint format clean distclean

help: ## show this list
	@echo "pdec: compile a neural PDE, written as one equation, into one Python module"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.pdec-examples ## compile the examples, train digits, leave pictures in demo/
	@mkdir -p "$(DEMO)"
	@for model in $(MODELS); do \
		$(BIN)/pdec compile "$$model" -o "$(DEMO)/" || exit; \
	done
	@$(BIN)/python examples/recover_adr1d.py --output "$(DEMO)/"
	@$(BIN)/python examples/omega_sweep.py --output "$(DEMO)/"
	@$(BIN)/python examples/train_digits.py --output "$(DEMO)/"
	@echo "The generated modules and the pictures are in $(DEMO)/:"
	@ls "$(DEMO)"

test: lint ## check formatting, lint and types, then run every test
	@$(BIN)/python -m pytest -q $(PYTEST_ARGS)

test-full: PYTEST_ARGS += --full
test-full: test ## the same with the slow tests

bench: $(VENV)/.pdec-bench ## time gradients beside JAX, PyTorch and C (installs them)
	@$(BIN)/python benchmarks/speed.py --output "$(BENCH)" $(BENCH_ARGS)

lint: $(VENV)/.pdec-test ## check formatting, lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.pdec-test ## format the code and apply the safe lint fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove what the tools and the demo leave behind
	rm -rf "$(DEMO)" "$(BENCH)" build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pdec tests examples benchmarks -name __pycache__ -type d -prune \
		-exec rm -rf {} +

distclean: clean ## also remove the environment
	rm -rf "$(VENV)"

# --- the environment --------------------------------------------------------------
# One stamp per set of extras: `make demo` does not wait for what only the tests need.
# A stamp older than pyproject.toml installs again; otherwise the step takes no time.

# pip is reduced to one line a package, so that a long download is not silence.

define install
	@$(BIN)/python -m pip --version > /dev/null 2>&1 \
		|| $(BIN)/python -m ensurepip > /dev/null
	@rm -f $@.failed
	@{ $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		--editable "$(1)" || touch $@.failed; } | awk ' \
		/^Collecting/ { printf "  %s\n", $$2; fflush() } \
		/^Installing collected/ { print "  unpacking"; fflush() }'
	@if [ -e $@.failed ]; then rm -f $@.failed; exit 1; fi
	@touch $@
endef

$(VENV)/.pdec-examples: pyproject.toml | $(BIN)/python
	@echo "Installing pdec and what its examples need into $(VENV) (about a minute):"
	$(call install,.[examples])

$(VENV)/.pdec-bench: pyproject.toml | $(BIN)/python
	@echo "Installing pdec and what it is compared with into $(VENV) (a few minutes):"
	$(call install,.[bench])

$(VENV)/.pdec-test: pyproject.toml | $(BIN)/python
	@echo "Installing pdec and what its tests need into $(VENV) (a minute or two):"
	$(call install,.[test])
	@touch $(VENV)/.pdec-examples

$(BIN)/python:
	@command -v "$(PYTHON)" > /dev/null || { \
		echo "error: '$(PYTHON)' was not found; install Python 3.11 or newer," \
			"or name one: make PYTHON=python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: pdec needs Python 3.11 or newer and '$(PYTHON)' is" \
			"$$("$(PYTHON)" --version 2>&1); name another: make PYTHON=python3.12" >&2; \
		exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "error: '$(PYTHON)' cannot create environments: its venv module is" \
			"incomplete; on Debian and Ubuntu: sudo apt install python3-venv" >&2; \
		exit 2; }
	@echo "Creating $(VENV) with $$("$(PYTHON)" --version) ..."
	@"$(PYTHON)" -m venv "$(VENV)"
