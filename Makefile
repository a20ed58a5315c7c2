# Everything on a fresh machine: `make demo` and `make test`.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
UV      := $(shell command -v uv 2>/dev/null)

.PHONY: demo test test-slow lint format benchmark clean

demo: $(READY)
	$(BIN)/harness run studies/demo.toml
	$(BIN)/harness export demo --output best
	$(BIN)/harness report demo
	@echo "Browse every run in MLflow's UI: $(BIN)/harness ui"

test: $(READY)
	$(BIN)/python -m pytest -n auto

# The tests in a browser need Chromium and the group `browser`; without them they are skipped:
#   apt-get install chromium && uv pip install --python .venv/bin/python -c constraints.txt --group browser
test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_example.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(READY)
	$(BIN)/python benchmarks/training_step.py

clean:
	rm -rf $(VENV)

# The environment, through uv where it is there, else pip; made anew when its inputs change.
$(READY): pyproject.toml constraints.txt
ifneq ($(UV),)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --group dev --editable .
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
endif
	@touch $@
