# Two commands do all: `make run` and `make test`. Both make their own virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
endif
DATA ?= data
ARGS ?=
LOCK := -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml

.PHONY: run test servers test-heavy test-serving test-gpu test-compose fuzz faults faults-long faults-points figures \
	screenshots lock audit test-train lint types bench train train-bloodcells clean

run: $(VENV)/ready
	$(BIN)/cytobus up --samples --data $(DATA) $(ARGS)

# Tests start a hundred processes of ours: compiled once is enough, whatever the shell says.
test test-heavy fuzz faults figures: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/ready-test servers lint types
	CYTOBUS_TESTS_BROWSER=required $(BIN)/python -m pytest -m "not heavy and not compose and not serving and not gpu" -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-heavy: $(VENV)/ready-test
	$(BIN)/python -m pytest -m heavy $(ARGS)

# A real Triton server on this machine's processor, in an environment of its own (.cache; 500 MB), made at the first run.
test-serving: $(VENV)/ready-test
	$(BIN)/python -m pytest -m serving $(ARGS)

# Builds TensorRT engines on this machine's GPU and runs them; skipped with the reason where there is none.
test-gpu: $(VENV)/ready-test $(VENV)/ready-train
	$(BIN)/python -m pytest -m gpu -s tests/gpu $(ARGS)

# Needs a docker engine; builds the images, brings the compose files up and does them harm.
test-compose: $(VENV)/ready-test
	docker info --format 'docker engine {{.ServerVersion}}'
	$(BIN)/python -m pytest tests/containers -s $(ARGS)

# Odd requests to every service, all corners of its OpenAPI document, others in each run; EXAMPLES: for each operation.
EXAMPLES ?= 100
fuzz: $(VENV)/ready-test servers
	FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/system/test_fuzz.py tests/system/test_fuzz_guarded.py --durations=0 $(ARGS)

# Breaks the system some 500 times, by a seed, then with mistakes planted that must be found. Linux with a C compiler.
faults: $(VENV)/ready-test
	$(BIN)/python -m tests.faults --faults 125 $(ARGS)
	$(BIN)/python -m tests.faults --world spread --faults 125 $(ARGS)
	$(BIN)/python -m tests.faults --planted all --faults 80

faults-long: $(VENV)/ready-test
	$(BIN)/python -m tests.faults --faults 10000 $(ARGS)
	$(BIN)/python -m tests.faults --world spread --faults 10000 $(ARGS)

# A crash at every call of a file's way that changes something on the disk, of the databases' and a start's calls at some
# of them; at each with ARGS="--step 1" (hours). Linux with a C compiler.
faults-points: $(VENV)/ready-test
	$(BIN)/python -m tests.faults.points --machines 2 $(ARGS)

# What is promised by a number: half-written files, flipped bits, bytes sent twice, recovery, poison, overload.
figures: $(VENV)/ready-test servers
	$(BIN)/python -m tests.faults.figures $(ARGS)

# Every page in light, dark, Chinese, on a tablet and at the first start, into build/screenshots; the README's two anew
# with ARGS=--readme.
screenshots: $(VENV)/ready-test servers
	$(BIN)/python -m tests.dashboard.screenshots $(ARGS)

# What goes into the images, with the hash of each file; anew with newer versions: make lock.
lock: $(VENV)/ready-test
	$(BIN)/uv pip compile $(LOCK) --extra bus --extra otel -o compose/locked/edge.txt
	$(BIN)/uv pip compile $(LOCK) --extra gateway --extra oidc --extra pipelines --extra cells --extra otel -o compose/locked/all.txt

# Asks the advisory database about all that goes into the images; needs the internet.
audit: $(VENV)/ready-test
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r compose/locked/all.txt

test-train: $(VENV)/ready-test $(VENV)/ready-train
	$(BIN)/python -m pytest tests/pipelines/test_nuclei_training.py tests/pipelines/test_bloodcells_training.py \
	    tests/pipelines/test_cells_training.py tests/pipelines/build -m "not heavy and not serving" $(ARGS)

lint: $(VENV)/ready-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/ready-test
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 -p edge -p contracts

bench: $(VENV)/ready-test
	$(BIN)/python -m tests.benchmarks $(ARGS)

train: $(VENV)/ready-train
	$(BIN)/cytobus train nuclei $(ARGS)

train-bloodcells: $(VENV)/ready-train
	$(BIN)/cytobus train bloodcells $(ARGS)

$(VENV)/made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

$(VENV)/ready: $(VENV)/made pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[all]"
	@touch $@

$(VENV)/ready-test: $(VENV)/ready
	$(BIN)/python -m pip install --quiet -e ".[test]"
	@touch $@

servers:
	tests/servers.sh

$(VENV)/ready-train: $(VENV)/ready
	$(BIN)/python -m pip install --quiet -e ".[train]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
