# Two commands: `make run` trains a model in the sandbox, `make test` runs the tests. Both create .venv if necessary.
# For contributors: `make test-e2e` runs the slow tests, `make check` runs lint, type and layer checks.

PYTHON ?= python3
EXTRAS := sandbox,dask,serve,dev
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

# uv takes a third of pip's time; pip is used if uv does not run, or does not find packages through pip's configuration.
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@echo 'Creating .venv with $(PYTHON) ...'
	@$(PYTHON) -m venv .venv
	@echo 'Installing uv, which installs packages in a third of the time of pip ...'
	@$(PIP) --quiet --constraint constraints.txt uv || true
	@echo 'Installing the project and the packages in constraints.txt ...'
	@.venv/bin/uv pip install --system-certs --python .venv --compile-bytecode $(PROJECT) || $(PIP) $(PROJECT)
	@echo 'Listing the fonts for plots ...'
	@.venv/bin/python -c 'import matplotlib.font_manager'  # builds matplotlib's list of fonts once, which takes up to two seconds
	@touch $@
