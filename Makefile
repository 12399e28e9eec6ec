# Everything here works from a fresh clone: each target builds what it needs first.
# `make help` lists the targets.

.DEFAULT_GOAL := help
.PHONY: build run test compat lint bench debug fuzz clean help

# The environment's own Python once there is one; before that any Python 3.11 or newer.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
VENV := .venv/bin
ARGS ?=
SUITE ?=
SANITIZE ?=
SECONDS ?= 60
TARGET ?=

build: ## .venv with everything installed and compiled
	@$(PYTHON) ext/tools/build.py

run: build ## start a broker on 127.0.0.1:9092, data in ./tidelog-data; make run ARGS="--workers 3"
	@exec $(VENV)/tidelog serve $(ARGS)

test: build ## all suites; make test SUITE="unit oracle"
	@$(VENV)/python tests/house/suites.py test $(SUITE)

compat: build ## real clients: Java, Go, Node, kcat (each is installed, or named as skipped)
	@$(VENV)/python tests/house/suites.py compat $(SUITE)

lint: build ## ruff, mypy, cython-lint, import-linter
	@$(VENV)/python tests/house/lint.py $(SUITE)

bench: build ## micro benchmarks: what has moved since the committed figures; make bench ARGS=--update
	@$(VENV)/python -m bench.micro $(ARGS)

debug: build ## the unit tests on modules compiled with -O0, assertions and bounds checks; SANITIZE=address
	@$(PYTHON) ext/tools/build.py --mode $(if $(SANITIZE),$(SANITIZE),debug)
	@$(VENV)/python tests/house/suites.py --mode $(if $(SANITIZE),$(SANITIZE),debug) debug $(SUITE)

fuzz: build ## coverage-guided fuzzing, so long for each; make fuzz SECONDS=600 TARGET="records frames"
	@$(PYTHON) ext/tools/build.py --mode fuzz
	@$(VENV)/python tests/fuzz/campaign.py --seconds $(SECONDS) --targets "$(TARGET)"

clean: ## remove what a build made, but .venv and the data
	rm -rf build dist
	find engine -name '*.so' -delete
	find engine ext tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
