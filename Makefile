# Two commands: `make run` trains a model in the sandbox, `make test` runs the tests. Both set up what is missing.

PYTHON ?= python3
EXTRAS := sandbox,dask,dev

.PHONY: run test check

run: .venv/ready
	.venv/bin/python -m flows.train

test: .venv/ready
	.venv/bin/python -m pytest

check: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

.venv/ready: pyproject.toml constraints.txt
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python '>=3.11' .venv && \
		uv pip install --quiet --python .venv --compile-bytecode --constraint constraints.txt --editable '.[$(EXTRAS)]'; \
	else \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")' && \
		$(PYTHON) -m venv .venv && \
		.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'; \
	fi
	@touch $@
