# make test   sets everything up and runs the tests, as anybody, without root
# make run    sets everything up, then a daemon with a sample secret, until Ctrl-C
#
# PYTHON=python3.12 chooses the interpreter; ARGS=... is handed on.

PYTHON ?= python3
ARGS ?=
VENV := .venv
READY := $(VENV)/.ready

.PHONY: test run setup clean

test: $(READY)
	@$(VENV)/bin/pytest $(ARGS)

run: $(READY)
	@examples/first-five-minutes $(ARGS)

setup: $(READY)

# an existing environment keeps the Python it was made with
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) isn't Python 3.11 or newer with venv (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml | $(VENV)/bin/python
	@echo "Fetching what the tools and the tests need: a minute or so, in which pip shows nothing."
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
