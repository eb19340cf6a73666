# Two commands are all a new machine needs: `make demo` and `make test`. Each makes .venv first.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
UV_COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-annotate --custom-compile-command "make lock"

.PHONY: help setup secrets demo test test-slow check format bench bench-peers bench-hostile bench-secrets scan fuzz faults lock clean
help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(STAMP)  ## make .venv with the locked dependencies

$(STAMP): requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

KEY = "$$(printf 'slk_%s_%s' $$(openssl rand -hex 4) $$(openssl rand -hex 32))"
secrets:  ## the keys of docker-compose.yml, in secrets/, where they are not there yet
	@install -d -m 700 secrets
	@for name in first ingest metrics; do [ -e secrets/$$name.key ] || echo $(KEY) > secrets/$$name.key; done

demo: setup  ## a real agent's run, recorded and replayed; ONCE=1 ends after it
	$(BIN)/spanledger demo $(if $(ONCE),--once)

test: setup  ## every test but the slow ones (at most 8 minutes on 2 cores)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: setup  ## the slow ones: more kills, 40 arrivals of each capture, two tenants of every one
	$(BIN)/python -m pytest -m slow

check: setup  ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: setup  ## rewrite the code as ruff wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## measure, and write bench/BENCHMARKS.md; with the peers where they are installed
	$(BIN)/python -m bench.run --peers

bench-peers:  ## the peers of the benchmark, in .venv-peers (1.3 GB)
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check 'arize-phoenix==20.26.*' 'mlflow==3.17.*'

bench-hostile: setup  ## kills, full disk, a huge trace, overload: writes bench/HOSTILE.md
	$(BIN)/python -m bench.hostile

bench-secrets: setup  ## 20,000 planted secrets through every door of a server that is killed: writes bench/SECRETS.md
	$(BIN)/python -m bench.secrets

# What bandit is told to leave out, ruff asks about at every line (S105, S311, S603, S608); docs/security.md says why each is so.
scan:  ## bandit over what is shipped, pip-audit over both locks (in .venv-scan; needs a package index and its advisories)
	$(PYTHON) -m venv .venv-scan
	.venv-scan/bin/python -m pip install --quiet --disable-pip-version-check 'bandit==1.9.*' 'pip-audit==2.10.*'
	.venv-scan/bin/bandit --quiet --recursive access collector query spanledger store --skip B105,B311,B404,B603,B608
	.venv-scan/bin/pip-audit --disable-pip --require-hashes --strict --requirement requirements.lock
	.venv-scan/bin/pip-audit --disable-pip --require-hashes --strict --requirement requirements-dev.lock

fuzz: setup  ## ten minutes of mutated bodies for each decoder
	$(BIN)/python -m bench.fuzz_decoders --decoder protobuf --seconds 600
	$(BIN)/python -m bench.fuzz_decoders --decoder json --seconds 600

faults: setup  ## every system call of the journal failing in turn (needs strace)
	$(BIN)/python -m bench.faults

lock:  ## resolve the dependencies anew (needs uv); the runtime lock is a subset of the development lock
	$(UV_COMPILE) --extra demo --extra dev -o requirements-dev.lock pyproject.toml
	$(UV_COMPILE) -c requirements-dev.lock -o requirements.lock pyproject.toml

clean:  ## remove what make has made
	rm -rf .venv .venv-scan build *.egg-info
