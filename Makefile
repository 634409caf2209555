# Start with `make demo` and `make test`.
PYTHON ?= python3
DURATION ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.PHONY: demo test check bench demo-model clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo  ## Run a simulated line with everything built in; DURATION=20 stops it after 20 s.
	$(BIN)/linewatch demo $(if $(DURATION),--duration $(DURATION))

test: $(VENV)/.test system-parts  ## Run all tests, with a real broker, browser and Prometheus.
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: test  ## Run the tests, the linter and the type checker.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/.demo  ## Measure the daemon against the bare engine, on this machine.
	$(BIN)/linewatch bench --config config/bench.toml

demo-model: $(VENV)/.test  ## Train the demo product on simulated good parts; writes models/demo.
	$(BIN)/python -m linewatch.training.demo

.PHONY: system-parts
system-parts:
	@sh .ci/system-parts

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "linewatch needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV) \
		|| { echo "cannot create a virtual environment; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml config/constraints.txt
	@echo "Installing linewatch (what runs on a line PC, and a broker for the demo) ..."
	$(PIP) install --constraint config/constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml config/constraints.txt
	@echo "Installing linewatch with training and test parts ..."
	$(PIP) install --constraint config/constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) var build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

.PHONY: constraints
constraints: $(VENV)/.test  ## Pin the versions that are installed now.
	@{ echo "# The versions that the tests ran with, for repeatable installs. Updated by: make constraints"; \
	  $(BIN)/pip --disable-pip-version-check freeze --exclude-editable; } > config/constraints.txt

.PHONY: chaos soak
chaos: $(VENV)/.test system-parts  ## Test outages, kills, full disks, overload, changeovers; about 20 minutes, prints tables.
	$(BIN)/python -m tests.chaos

soak: $(VENV)/.test system-parts  ## Run at full load for 20 minutes and check that nothing grows.
	$(BIN)/python -m tests.chaos soak --minutes 20

.PHONY: teach-walk
teach-walk: $(VENV)/.test system-parts  ## Teach a product in a real browser on the simulator, from its name to roll back; a minute or two.
	$(BIN)/python -m pytest tests/walks

.PHONY: accuracy
accuracy: $(VENV)/.test  ## Train on simulated runs of production and check that their thresholds hold on later ones; a minute or two.
	$(BIN)/python -m pytest tests/accuracy

.PHONY: api-calls
api-calls: $(VENV)/.test  ## Send ten thousand random requests that follow the API's OpenAPI description.
	API_CALLS=10000 $(BIN)/python -m pytest tests/web/test_openapi.py

include .ci/packaging.mk
