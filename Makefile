.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

# The environment is made in one piece: the stamp appears only when everything is installed.
.venv/installed: pyproject.toml constraints.txt
	@rm -f $@
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, $$($(PYTHON) --version) was found: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: install
install: .venv/installed ## Create the environment, .venv

.PHONY: demo
demo: install ## Load sample months through the whole pipeline, without network or account
	@$(BIN)/taxi demo

# One process more than there are cores: some of the tests wait for a daemon's next look.
PYTEST = $(BIN)/pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadscope --no-loadscope-reorder

.PHONY: test
test: install ## Run the tests, but for the integration tests
	$(PYTEST) -m 'not integration'

.PHONY: test-all
test-all: install ## Run the tests and the integration tests: daemons, shell sessions, many runs
	$(PYTEST)

.PHONY: check
check: install ## Check format, lint, types, and that Dagster loads the definitions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --verbose
	$(BIN)/dg check defs

.PHONY: format
format: install ## Format, and fix what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: install ## Generate docs/commands.md and docs/settings.md
	$(BIN)/python docs/generate.py

.PHONY: screenshots
screenshots: install ## Take the pictures of docs/ui.md with headless Chromium
	$(BIN)/python docs/screenshots.py

# What docker-compose.yml refuses to start without, kept where it finds it.
.PHONY: deployment-env
deployment-env:
	@umask 077; touch .env; \
	grep -q '^POSTGRES_PASSWORD=.' .env || { printf '\nPOSTGRES_PASSWORD=%s\n' "$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >> .env; \
	  echo "a password for Postgres is made: POSTGRES_PASSWORD in .env"; }; \
	grep -q '^DOCKER_GID=.' .env || { printf 'DOCKER_GID=%s\n' "$$(stat -L -c %g /var/run/docker.sock 2>/dev/null || echo 0)" >> .env; }

.PHONY: image
image: deployment-env ## Build the image of the deployment, named TAXI_IMAGE
	REVISION=$$(git describe --always --dirty 2>/dev/null || echo unknown) docker compose build

.PHONY: up
up: deployment-env ## Start the deployment, with a container for each run
	docker compose up --detach --wait
	@echo "the UI is at http://$$(docker compose port webserver 3000)"

# The daemon goes first, so that it starts nothing more; then the runs, while there is still a database to tell that.
.PHONY: down
down: ## Stop the deployment and its runs; months and history stay
	docker compose stop daemon
	docker ps --quiet --filter label=taxi.deployment=taxi | xargs -r docker stop --time 60
	docker ps --quiet --all --filter label=taxi.deployment=taxi | xargs -r docker rm
	docker compose --profile pgadmin down

.PHONY: logs
logs: ## Follow the logs of the deployment's services
	docker compose logs --follow --tail 100

.PHONY: lock
lock: install ## Pin the packages of the image again
	$(BIN)/python deploy/docker/lock.py

.PHONY: test-stack
test-stack: install ## Test the deployment with a real Docker engine
	TEST_STACK=1 $(BIN)/pytest -m deployment
