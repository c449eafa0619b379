.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

# The environment is made in one piece: the stamp appears only when everything is installed.
.venv/installed: pyproject.toml constraints.txt
	@rm -f $@
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, $$($(PYTHON) --version) was found: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: install
install: .venv/installed ## The environment, .venv

.PHONY: demo
demo: install ## Made-up months through all five stations: no network, no account
	@$(BIN)/taxi demo

.PHONY: test
test: install ## The tests
	$(BIN)/pytest -n auto --dist loadscope --no-loadscope-reorder

.PHONY: check
check: install ## Formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: format
format: install ## Format, and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: install ## The pages of docs/ that the program tells: commands and settings
	$(BIN)/python docs/generate.py

.PHONY: screenshots
screenshots: install ## The pictures of docs/ui.md, with headless Chromium
	$(BIN)/python docs/screenshots.py
