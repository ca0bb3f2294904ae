# make demo, make test: all that a fresh clone needs. Set-up happens on first use (.venv) and again only when it must.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo
# The part of the slow tests to run, as 2/4: the second of four. Every test is in exactly one part.
SHARD ?= 1/1
# Tests start many processes: without its byte code each would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE
# Benchmarks that need recordings or peers that are not installed here; each says how it is called.
NEEDS_MORE := $(addprefix benchmarks/, pairs.py slam.py bundle_adjustment.py dino.py)

.PHONY: demo test test-slow check bench docs mutants fuzz clean

demo: .venv/ready
	$(BIN)/firstsight perceive sim:street --out $(OUT)

test test-slow: export OMP_NUM_THREADS = 1

test: .venv/ready
	$(BIN)/pytest -q -m "not slow" --numprocesses auto --maxprocesses 4 --dist loadfile

test-slow: .venv/ready
	$(BIN)/pytest -q -m slow --shard $(SHARD)

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check src
	$(BIN)/pytest -q tests/test_layers.py

bench: .venv/ready
	for script in $(filter-out $(NEEDS_MORE), $(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

docs: .venv/ready
	$(BIN)/python tools/generate_reference.py
	sh tools/install.sh -e '.[docs]'
	$(BIN)/zensical build

# Which faults, put into the code, no test would notice: make mutants FOLDER=src/firstsight/formats (benchmarks/mutants.md)
FOLDER ?= src/firstsight/formats
MUTANTS ?= 40
mutants: export OMP_NUM_THREADS = 1

mutants: .venv/ready
	sh tools/install.sh -e '.[dev,mutants]'
	nice -n 10 $(BIN)/python tools/mutants.py $(FOLDER) --count $(MUTANTS)

# What becomes of damaged files, by seed: make fuzz CASES=5000 SEED=5
CASES ?= 1000
SEED ?= 0
fuzz: export OMP_NUM_THREADS = 1

fuzz: .venv/ready
	$(BIN)/python tools/fuzz.py --cases $(CASES) --seed $(SEED)

clean:
	rm -rf .venv runs site

.venv/ready: pyproject.toml constraints.txt tools/install.sh
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	sh tools/install.sh -e '.[dev]'
	touch $@
