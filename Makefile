# `make demo` and `make test` are the two commands of README.md. They make everything that they need.
PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK := 1
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test check lab fix soak thorough docs lock packages bundle dist screens bench lab-up lab-down lab-shell clean

$(READY): pyproject.toml requirements-dev.lock
	@echo "The first time: an environment in $(VENV), and packages from the package index. A minute or two, in silence."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: $(READY)  ## the whole runbook in the sandbox: no root, no docker, nothing outside loopback
	$(BIN)/breakglass sandbox -- sh examples/demo.sh

test: $(READY)  ## the tests that need no root, without the slow ones: two minutes
	$(BIN)/pytest -m "not lab and not slow and not thorough" -n 4 --dist worksteal -q -ra tests/front tests/unit
	@echo "not run here: the slow tests (every kill point, the documents' screens, the bundle): minutes; they come with: make lab"
	@echo "not run here: the lab tests (docker, containerd, kubelets, an API server): they need root on Debian 12: make lab"

check: $(READY)  ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: $(READY)  ## the slow tests, and the lab: root on Debian 12
	tests/lab/provision.sh
	$(BIN)/pytest -m "slow and not thorough" -n 4 --dist worksteal -q -ra tests/front tests/unit
	$(BIN)/pytest -m "lab and not thorough" -n 2 --dist worksteal -q -ra --durations=25 tests/lab

lab-up: $(READY)
	tests/lab/provision.sh
	$(BIN)/python -m tests.lab up

lab-down: $(READY)
	$(BIN)/python -m tests.lab down

lab-shell: $(READY)
	$(BIN)/python -m tests.lab shell $(HOST)

soak: $(READY)  ## 200 commands and faults in a random order in the lab, the seed printed
	tests/lab/provision.sh
	BREAKGLASS_SOAK=200 $(BIN)/pytest -m lab -q -s tests/lab/faults/test_soak.py

thorough: $(READY)  ## the lab with every variant of every test, and every single kill point: an hour
	tests/lab/provision.sh
	$(BIN)/pytest -m thorough -n 4 --dist worksteal -q -ra tests/front tests/unit
	BREAKGLASS_ALL_KILLS=1 $(BIN)/pytest -m lab -n 2 --dist worksteal -q -ra tests/lab

screens: $(READY)  ## docs/screens.md, taken anew in the lab
	tests/lab/provision.sh
	$(BIN)/python -m tests.lab.screens

docs: $(READY)  ## writes docs/faults.md from the tests
	mkdir -p docs
	$(BIN)/python -m tests.lab.faults.document >docs/faults.md.new && mv docs/faults.md.new docs/faults.md

LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'

lock: $(READY)  ## the newest packages into both lock files, with the sha256 of every file that the package index has of them
	$(LOCK) --extra dev --output-file requirements-dev.lock
	$(LOCK) --constraint requirements-dev.lock --output-file requirements.lock

packages: $(READY)  ## docs/packages.md: what comes along, and that Alpine gets it as wheels; asks the package index
	$(BIN)/python -m release.packages >docs/packages.md.new && mv docs/packages.md.new docs/packages.md

breakglass-remote.pyz: $(wildcard src/breakglass/remote/*.py src/breakglass/remote/*/*.py)  ## what runs on other hosts, in one file: for "Without breakglass" in runbook.md
	cd src && $(PYTHON) -m breakglass.remote.pack ../$@

dist: $(READY)  ## dist/: the wheel and the source archive
	$(BIN)/python -m hatchling build --directory dist

bundle: $(READY)  ## dist/breakglass-VERSION-bundle/: all wheels for this Python and machine, to be installed without a network; signed by SIGN_WITH=KEY
	$(BIN)/python -m release.bundle $(if $(SIGN_WITH),--sign-with $(SIGN_WITH))

bench: $(READY)  ## speed and size, side by side in one run; needs the lab
	tests/lab/provision.sh
	$(BIN)/python -m benchmarks

clean:
	rm -rf breakglass-remote.pyz $(VENV) $(VENV)-* dist build .mypy_cache .ruff_cache .pytest_cache

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/make \1: \2/p' Makefile
