.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is required, but this is $$($(PYTHON) --version). Run: make PYTHON=python3.11 ..."; exit 1; }
	@echo "Creating .venv and installing packages into it. The first time, this takes about a minute."
	@$(PYTHON) -m venv .venv

# On a terminal, show the number of installed packages and what pip does. The errors of pip go to stderr.
define PIP_INSTALL
@rm -f $@
@: > .venv/pip.log; \
if [ -t 1 ]; then while kill -0 $$$$ 2> /dev/null; do \
  printf '\r\033[K%d packages. %.60s' $$(ls -d .venv/lib/*/site-packages/*.dist-info | wc -l) "$$(tail -n 1 .venv/pip.log)"; \
  sleep 0.5; done & fi; \
$(BIN)/pip install --disable-pip-version-check --progress-bar off --constraint constraints.txt --editable '$(1)' > .venv/pip.log; \
status=$$?; [ -z "$$!" ] || { kill $$!; printf '\r\033[K'; }; exit $$status
endef

# These stamp files exist only if the whole installation succeeded: of the program, and of what development needs too.
.venv/program: pyproject.toml constraints.txt | .venv/bin/pip
	$(call PIP_INSTALL,.)
	@touch $@

.venv/installed: pyproject.toml constraints.txt | .venv/bin/pip
	$(call PIP_INSTALL,.[dev])
	@touch .venv/program $@

.PHONY: install
install: .venv/installed ## Create the virtual environment .venv and install everything

.PHONY: demo
demo: .venv/program ## Load sample months through the whole pipeline; needs no network or account
	@$(BIN)/taxi demo

# One process more than there are cores, because some tests mostly wait for the daemon.
PYTEST = $(BIN)/pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadscope --no-loadscope-reorder

.PHONY: test
test: install ## Run the tests, except the integration tests
	$(PYTEST) -m 'not integration'

.PHONY: test-all
test-all: install ## Run all tests, including the integration tests: daemons, shell sessions, many runs
	$(PYTEST)

.PHONY: coverage
coverage: install ## Run all tests and show the lines that they do not reach; htmlcov/ has them in color
	$(PYTEST) --cov --cov-report=term --cov-report=html

.PHONY: check
check: install ## Check format, lint, types and imports, and that Dagster loads the definitions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --verbose
	$(BIN)/dg check defs

.PHONY: format
format: install ## Format the code and fix lint errors that can be fixed automatically
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: install ## Generate the data dictionary and the pages of commands, settings and troubleshooting
	$(BIN)/python docs/generate.py

# What `make site` and `make recording` need is installed only for them.
.venv/site-installed: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[site]'
	@touch $@

.PHONY: site
site: .venv/site-installed ## Build the documentation site in build/docs/site; a broken link is an error
	$(BIN)/python docs/site.py

.PHONY: recording
recording: .venv/site-installed ## Record the terminal session of the README
	$(BIN)/python docs/recording.py

.PHONY: screenshots
screenshots: install ## Take the screenshots for the README and docs/ui.md with headless Chromium
	$(BIN)/python docs/screenshots.py

# The packages that only the benchmarks compare with are installed only for them.
.venv/bench-installed: .venv/installed benchmarks/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' \
	  --requirement benchmarks/requirements.txt
	@touch $@

# Options are in BENCH, such as make bench BENCH='--quick'. Without options, this takes about half an hour.
.PHONY: bench
bench: .venv/bench-installed ## Compare the speed and memory with pandas, DuckDB, polars, psql and others
	$(BIN)/python benchmarks/bench.py $(BENCH)

# Write the required variables of docker-compose.yml to .env.
.PHONY: deployment-env
deployment-env:
	@umask 077; touch .env; \
	grep -q '^POSTGRES_PASSWORD=.' .env || { printf '\nPOSTGRES_PASSWORD=%s\n' "$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >> .env; \
	  echo "Wrote a new POSTGRES_PASSWORD for Postgres to .env"; }; \
	grep -q '^DOCKER_GID=.' .env || { printf 'DOCKER_GID=%s\n' "$$(stat -L -c %g /var/run/docker.sock 2>/dev/null || echo 0)" >> .env; }

.PHONY: image
image: deployment-env ## Build the image of the deployment and tag it with TAXI_IMAGE
	REVISION=$$(git describe --always --dirty 2>/dev/null || echo unknown) docker compose build

.PHONY: up
up: deployment-env ## Start the deployment, with a container for each run
	docker compose up --detach --wait
	@echo "the UI is at http://$$(docker compose port webserver 3000)"

RUNS = docker ps --quiet --filter label=taxi.deployment=$$(docker compose config | sed -n 's/^name: //p')

# Stop the daemon first, so that it starts no more runs. Then stop the runs, while they can still write to the history.
.PHONY: down
down: ## Stop the deployment and its runs; keep the data and the history
	docker compose stop daemon
	$(RUNS) | xargs -r docker stop --time 60
	$(RUNS) --all | xargs -r docker rm
	docker compose --profile pgadmin down

.PHONY: logs
logs: ## Follow the logs of the deployment's services
	docker compose logs --follow --tail 100

.PHONY: lock
lock: install ## Update the pinned packages of the image
	$(BIN)/python deploy/docker/lock.py

# Options are in FAULTS, such as make test-faults FAULTS='--seed 7 --minutes 60'.
.PHONY: test-faults
test-faults: install ## Kill loads at every point, load with many processes at once, and see what holds
	$(BIN)/python faults/faults.py $(FAULTS)

.venv/fuzz-installed: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	@touch $@

# Options are in FUZZ, such as make test-fuzz FUZZ='--seed 7 --minutes 60'.
.PHONY: test-fuzz
test-fuzz: .venv/fuzz-installed ## Read files that were changed at random, and see whether each is cleaned or refused
	$(BIN)/python faults/fuzz.py $(FUZZ)

.PHONY: test-upgrades
test-upgrades: install ## Load months with each earlier release, and open its home or deployment with this one
	TEST_UPGRADES=1 $(BIN)/pytest -m upgrades taxi_assets_tests/end_to_end

# Options are in NEWEST: make test-newest NEWEST=--contracts
.PHONY: test-newest
test-newest: install ## Run the tests with the newest Dagster, which the constraints do not allow yet
	$(BIN)/python upgrades/newest_dagster.py $(NEWEST)

.PHONY: test-stack
test-stack: install ## Test the deployment with a real Docker engine
	TEST_STACK=1 $(BIN)/pytest -m deployment
