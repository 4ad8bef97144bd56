# make demo: install, then train, calibrate and judge a router on the embedded pool.
# make test: install, then run the tests. make lint: ruff. make setup: install only.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test lint

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=...')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

demo: setup
	$(BIN)/python scripts/train.py run_dir=outputs/demo
	$(BIN)/python scripts/route.py run=outputs/demo query="What is 15 % of 240?"

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
