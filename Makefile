# Two commands: `make run` trains a model in the sandbox, `make test` runs the tests. Both set up what is missing.
# For contributors: `make test-e2e` runs the slow tests, `make check` lint, types and layers.

PYTHON ?= python3
EXTRAS := sandbox,dask,dev
PROJECT := --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
PIP := .venv/bin/python -m pip install --disable-pip-version-check

PYTEST := .venv/bin/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --hypothesis-profile=steady

.PHONY: run test test-e2e check

run: .venv/ready
	.venv/bin/python -m flows.train

test: .venv/ready
	$(PYTEST) -m 'unit or sandbox'

test-e2e: .venv/ready
	$(PYTEST) -m e2e

check: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# uv installs in a third of pip's time; pip does it where uv does not run, or finds no packages as pip is configured to.
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@$(PYTHON) -m venv .venv
	@$(PIP) --quiet --constraint constraints.txt uv || true
	@.venv/bin/uv pip install --system-certs --python .venv --compile-bytecode $(PROJECT) || $(PIP) $(PROJECT)
	@.venv/bin/python -c 'import matplotlib.font_manager'  # looks for the machine's fonts once, which takes up to two seconds
	@touch $@
