# Needs Python 3.11 or newer, make and git, and nothing else started or installed by hand.
# The first start makes a virtual environment in .venv; later ones find it ready.
#
#   PYTHON=/path/to/python3.12     the Python to use (default: the first suitable one on the PATH)
#   NATS_SERVER=/path/to/server    an own nats-server, 2.12 or newer, instead of the one from the wheel
#   ARGS="..."                     more arguments for the command, as in: make test ARGS="-k retry -x"

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-browser test-jaeger chaos bench clean lint lint-style lint-format lint-types lint-arrows ready-demo ready-dev

VENV = .venv
ARGS =
DEMO_EXTRAS = nats,server,otel
DEV_EXTRAS = dev,a2a-server,a2a-client,a2a-grpc

# Each candidate is run, not only looked up: a version manager puts names on the PATH that do not start.
# With none suitable the plain python3 is taken, so that tools/bootstrap.py can say what is wrong.
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3.14 python3; do \
	if $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$each; exit; fi; done; echo python3)

# `exec`, so that make's own child is the process that has to hear of a signal, and not a shell.
READY = exec $(PYTHON) tools/bootstrap.py --venv $(VENV) --extras
IN_VENV = exec $(VENV)/bin/python tools/run.py $(VENV)/bin/

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## */  make \1	/p' Makefile

demo: ready-demo ## run the demo: own nats-server, workers in several processes, one of them killed on the way
	@$(IN_VENV)python examples/stdlib_census/flow.py $(ARGS)

test: ready-dev ## run all tests but the slow ones
	@$(IN_VENV)python -m pytest -q -m "not slow" $(ARGS)

chaos: ready-dev ## run the tests that kill workers and servers, the long ones too
	@$(IN_VENV)python -m pytest -q -m chaos $(ARGS)

test-slow: ready-dev ## run the slow tests that need nothing but what make test needs
	@$(IN_VENV)python -m pytest -q -m "slow and not browser and not jaeger" $(ARGS)

test-browser: ready-dev ## look at the page of a trace with a headless Chromium (CHROMIUM_BIN, else from the PATH)
	@$(IN_VENV)python -m pytest -q -m browser $(ARGS)

test-jaeger: ready-dev ## run the demo against a real Jaeger (JAEGER_BIN, else the one on the PATH)
	@$(IN_VENV)python -m pytest -q -m jaeger $(ARGS)

bench: ready-dev ## run the benchmarks
	@$(IN_VENV)python -m benchmarks $(ARGS)

lint: lint-style lint-format lint-types lint-arrows ## check style, formatting, types and the arrows between the packages

lint-style: ready-dev
	@$(IN_VENV)ruff check .

lint-format: ready-dev
	@$(IN_VENV)ruff format --check .

lint-types: ready-dev
	@$(IN_VENV)mypy

lint-arrows: ready-dev
	@$(IN_VENV)lint-imports --no-logo

ready-demo:
	@$(READY) $(DEMO_EXTRAS)

ready-dev:
	@$(READY) $(DEV_EXTRAS)

clean: ## remove the virtual environment and everything else that is made here
	@if test -f $(VENV)/pyvenv.cfg; then rm -rf $(VENV); fi
	rm -rf .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
