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

# One process more than there are cores: some of the tests wait for a daemon's next look.
.PHONY: test
test: install ## The tests
	$(BIN)/pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadscope --no-loadscope-reorder

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

# What docker-compose.yml refuses to start without, kept where it finds it.
.PHONY: deployment-env
deployment-env:
	@umask 077; touch .env; \
	grep -q '^POSTGRES_PASSWORD=.' .env || { printf '\nPOSTGRES_PASSWORD=%s\n' "$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >> .env; \
	  echo "a password for Postgres is made: POSTGRES_PASSWORD in .env"; }; \
	grep -q '^DOCKER_GID=.' .env || { printf 'DOCKER_GID=%s\n' "$$(stat -L -c %g /var/run/docker.sock 2>/dev/null || echo 0)" >> .env; }

.PHONY: image
image: deployment-env ## The image of the deployment, named TAXI_IMAGE
	REVISION=$$(git describe --always --dirty 2>/dev/null || echo unknown) docker compose build

.PHONY: up
up: deployment-env ## Start the deployment: a container a run
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
logs: ## Follow what the deployment's services say
	docker compose logs --follow --tail 100

.PHONY: lock
lock: install ## Pin the packages of the image anew
	$(BIN)/python deploy/docker/lock.py

.PHONY: test-stack
test-stack: install ## The deployment's tests, with a real Docker engine
	TEST_STACK=1 $(BIN)/pytest -m deployment
