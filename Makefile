# make demo    the main job on a bundled portrait      make style    format the code
# make test    every test but the slow ones            make quality  check format, lint and types
# make test-all        the slow ones as well           make install  the package and its test extras
# make tiny DATA=DIR   train the embedded model        make docs     the documentation as a site
# make dist    source archive and wheel                make clean    remove what these have made

VENV ?= .venv
# The first Python that will do: >= 3.11, and before 3.13 where there is one, since mediapipe has no
# wheels past 3.12 (without it a simpler face detector takes over).
PYTHON ?= $(shell for limit in 13 99; do for p in python3 python3.11 python3.12; do \
	if $$p -c "import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, $$limit))" \
	2>/dev/null; then echo $$p; exit; fi; done; done)
BIN := $(VENV)/bin
RECIPE ?= recipes/tiny.yaml
OUTPUTS ?= outputs
# Seconds of processor time that a test which is not marked slow may take.
CPU_LIMIT ?= 2
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
REQUIREMENTS := setup.cfg pyproject.toml constraints.txt requirements-dev.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-all install style quality tiny docs dist clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 with venv found (Debian and Ubuntu:" \
		"apt install python3 python3-venv). Or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps are written last: an install that broke off is done again, a finished one is not.
$(VENV)/.demo-stamp: $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing the pinned dependencies into $(VENV); this takes a few minutes the first time."
	$(PIP) -c constraints.txt -e ".[faces]"
	@touch $@

$(VENV)/.dev-stamp: $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing the pinned dependencies into $(VENV); this takes a few minutes the first time."
	$(PIP) -r requirements-dev.txt
	@$(BIN)/python -m pip download --quiet --no-deps --no-binary transformers -c constraints.txt \
		--dest .cache transformers || echo "transformers' source archive is not to be had:" \
		"its common model tests will be skipped" >&2
	@touch $(VENV)/.demo-stamp $@

demo: $(VENV)/.demo-stamp
	@$(BIN)/emo-llama predict emo_llama/assets/portrait.jpg --overlay $(OUTPUTS)/demo

# Two processes, each of which takes tests from the other once it has none left.
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal --cpu-limit $(CPU_LIMIT)

test: $(VENV)/.dev-stamp
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-all: $(VENV)/.dev-stamp
	$(PYTEST) $(PYTEST_ARGS)

install: $(VENV)/.dev-stamp

style: $(VENV)/.dev-stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

quality: $(VENV)/.dev-stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The two limits keep glibc from giving memory back after every step only to fetch it again.
tiny: $(VENV)/.dev-stamp
	@test -n "$(DATA)" || { echo "Name the folder of the FERPlus files: make tiny DATA=DIR" >&2; \
		exit 2; }
	MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184 \
	$(BIN)/emo-llama train --config $(RECIPE) --data $(DATA) $(TRAIN_ARGS)

# The variable leaves out a notice about the end of mkdocs-material in 2027; setup.cfg has its bounds.
docs: $(VENV)/.dev-stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html, or with the search: $(BIN)/python -m http.server -d site"

# What earlier builds left would get into the wheel.
dist: $(VENV)/.dev-stamp
	rm -rf build dist *.egg-info
	@$(BIN)/python -c "from setuptools import build_meta as build; build.build_sdist('dist'); \
		build.build_wheel('dist')" > /dev/null
	@ls -l dist

clean:
	rm -rf $(VENV) $(OUTPUTS) build dist site *.egg-info
