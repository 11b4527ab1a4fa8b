# make help says what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo_output
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help install demo lint test test-slow clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## .venv with the package and its dev extra

$(VENV)/.installed: pyproject.toml constraints.txt hatch_build.py ecgconsole/signals/kernels.c
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install ## a synthetic cohort through every stage, in a few minutes
	$(BIN)/ecgconsole synth $(DEMO)/cohort --patients 80 --hours 0.3 --seed 1
	$(BIN)/ecgconsole run --no-tui -c configs/demo.json -o $(DEMO)/output \
	  --set data.waveform_dir=$(DEMO)/cohort/waveforms --set data.clinical_dir=$(DEMO)/cohort/clinical
	@echo
	@echo "Made: the cohort in $(DEMO)/cohort, everything learnt from it in $(DEMO)/output."
	@echo "Read the report in a browser: $(DEMO)/output/report.html"
	@echo "Look at it in the console:  $(BIN)/ecgconsole -o $(DEMO)/output"

lint: install ## linter, formatter, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## all that lands must pass, under ten minutes on two cores
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(TESTS)

test-slow: install ## the longer proofs: kills, interruptions, whole runs on real recordings
	$(BIN)/python -m pytest -m slow $(TESTS)

clean: ## removes what make made
	rm -rf $(VENV) $(DEMO) build dist
