# Each target makes .venv first, so that each works in a fresh clone.
PYTHON ?= python3
CONFIG ?= configs/quickstart.yaml
ARGS ?=
PYTEST := pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder
STAMP := .venv/.installed
DEV := .venv/.installed-dev
LOWEST := .venv-lowest/.installed

.PHONY: fit test test-lowest lint bench clean

fit: $(STAMP)
	.venv/bin/cifar-cnn fit --config $(CONFIG) $(ARGS)

# One process per core with one thread each; more threads would compete for the cores. tests/conftest.py orders the files,
# the slowest first.
test: $(DEV)
	OMP_NUM_THREADS=1 .venv/bin/python -m $(PYTEST) $(ARGS)

# With the lowest version of each dependency that pyproject.toml allows. Only Python 3.10 and 3.11 have wheels for all of
# them: make test-lowest PYTHON=python3.10
test-lowest: $(LOWEST)
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m $(PYTEST) $(ARGS)

lint: $(DEV)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

bench: $(STAMP)
	.venv/bin/python -m benchmarks $(ARGS)

# The stamp is written last: the next make completes an interrupted installation.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "cifar-cnn needs Python 3.10 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --editable .
	@touch $@

$(DEV): $(STAMP)
	.venv/bin/pip install --quiet --editable '.[dev]'
	@touch $@

$(LOWEST): pyproject.toml tests/lowest.py
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/pip install --quiet packaging
	.venv-lowest/bin/pip install --quiet --no-deps --editable .
	.venv-lowest/bin/python tests/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet --editable '.[dev]' --constraint .venv-lowest/constraints.txt
	@touch $@

clean:
	rm -rf .venv .venv-lowest
