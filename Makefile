# One command each; `make help` lists them. Everything runs in .venv, which deploy/install.sh makes.
SHELL := /bin/bash
PYTHON_VENV := .venv/bin/python
BIN := .venv/bin
RANKS ?= 2
MINUTES ?= 60
SEED ?= 0

# Open MPI: root in a container, and more ranks than cores
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export OMPI_MCA_rmaps_base_oversubscribe := 1
export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo demo-slurm demo-download learn package test test-fast test-parallel test-nightly slow-links \
	docs lint types format lock audit bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## make or complete .venv (instant when nothing has changed)
	@bash deploy/install.sh

# In its own folder demo/, because commands use data/ in the current folder.
DEMO = cd demo && ../$(PYTHON_VENV) -m
DEMO_MPI = cd demo && mpirun -n $(RANKS) ../$(PYTHON_VENV) -m

# A network that two cores train in a minute; the paper's gets a few steps before it.
DEMO_TRAINING = --network small --steps 360 --validate-every 5 --optimiser adamw --decay cosine --rate 0.024 --warmup 1 \
	--l2 0 --dropout 0 --mixup 0

demo: install ## in demo/: a small archive -> store -> picture of patches -> training -> scores, report and map
	@mkdir -p demo && rm -rf demo/data/store.* demo/run demo/run_resnet50 demo/report demo/map.*
	$(DEMO) etl.doctor
	$(DEMO) etl.sample
	$(DEMO) etl.catalogue
	$(DEMO_MPI) etl.extract
	$(DEMO) etl.verify data/store.h5
	$(DEMO) etl.preview data/store.h5 --out preview.png
	$(DEMO_MPI) trainer.run --store data/store.h5 --steps 8 --batch 16 --validate-every 0 --out run_resnet50
	$(DEMO_MPI) trainer.run --store data/store.h5 --batch 16 $(DEMO_TRAINING) --out run
	$(DEMO_MPI) trainer.evaluate --run run --split test
	$(PYTHON_VENV) -m benchmarks.baselines demo/data/store.h5 demo/run
	$(DEMO) trainer.report run --out report
	$(DEMO_MPI) trainer.predict --run run --out map.tif
	$(DEMO) trainer.predict --run run --split test --out map.png
	@echo "demo: look at demo/preview.png, demo/report/ and demo/map.png"

demo-slurm: install ## in demo/slurm/: the chain as jobs of a Slurm on this machine, with interruptions; needs root
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests nice $(PYTHON_VENV) tests/demo_slurm.py

demo-download: install ## in demo/download/: products from servers on this machine to a folder, and stores from both
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(PYTHON_VENV) tests/demo_download.py

learn: install ## half an hour: train on a larger sample, all bands and RGB, and compare with a logistic regression
	$(PYTHON_VENV) -m benchmarks learn table --size laptop
	@echo "learn: look at benchmarks/results/learn.laptop.report.html"

package: install ## source archive and wheel in dist/, checked for PyPI
	rm -rf dist
	$(PYTHON_VENV) -m build --no-isolation
	$(BIN)/twine check --strict dist/*

test: install ## every check: lint, types, all tests, those on many ranks included
	$(MAKE) --jobs=4 --keep-going --output-sync=target lint types $(PARTS)

# Four parts run at once, because each waits much. Each part's output is printed at its end.
PARTS = test-parallel test-faults test-others test-cluster test-trainer test-docs
.PHONY: $(PARTS)
# No binding to cores: otherwise the mpirun of each part would bind its first rank to the first core.
$(PARTS): export OMPI_MCA_hwloc_base_binding_policy := none
$(PARTS): export OMPI_MCA_mpi_yield_when_idle := 1
BAD_INPUT = $(addprefix tests/faults/test_,$(addsuffix .py,bad_products bad_patches bad_settings bad_resume bad_disks \
	broken_runs odd_input))
test-parallel: install ## tests on 1, 2, 3, 7 and 72 ranks, and of bad input; benchmarks at tiny size
	$(PYTHON_VENV) -m pytest --durations=15 tests/parallel $(BAD_INPUT) tests/test_benchmarks.py
test-faults: install ## tests of kills, full disks, lost workers and servers
	$(PYTHON_VENV) -m pytest --durations=15 $(addprefix --ignore=,$(BAD_INPUT)) tests/faults
test-cluster: install ## tests on Slurm and on several hosts
	$(PYTHON_VENV) -m pytest --durations=15 tests/cluster
test-nightly: install ## disturb all commands for MINUTES=60, with SEED=0: counts are added to tests/faults/tries.json
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests nice $(PYTHON_VENV) tests/nightly.py --minutes $(MINUTES) --seed $(SEED)
slow-links: install ## seconds of extraction and all-reduce on three hosts with slow links; needs root rights
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests $(PYTHON_VENV) -m cluster.slow_link
OF_TRAINER = tests/trainer $(addprefix tests/test_,every_store.py image_stores.py own_stores.py old_runs.py baselines.py)
test-trainer: install ## tests of the trainer, and of trainings on all kinds of stores
	$(PYTHON_VENV) -m pytest --durations=15 $(OF_TRAINER)
test-others: install ## all other tests
	$(PYTHON_VENV) -m pytest --durations=15 $(addprefix --ignore=,$(OF_TRAINER) tests/parallel tests/faults tests/cluster \
		tests/test_benchmarks.py)

test-docs: install ## build the documentation; warnings and dead internal links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: install ## show the documentation in a browser; it is built again at each change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --no-strict --open

test-fast: install ## quick tests, which start no process: under a minute on two cores
	$(MAKE) --jobs=2 --keep-going --output-sync=target $(FAST_PARTS)

FAST_PARTS = test-fast-trainer test-fast-others
.PHONY: $(FAST_PARTS)
FAST = $(PYTHON_VENV) -m pytest -m "not mpi and not slow and not process"
FAST_TRAINER = tests/trainer tests/test_every_store.py
test-fast-trainer:
	$(FAST) $(FAST_TRAINER)
test-fast-others:
	$(FAST) $(addprefix --ignore=,$(FAST_TRAINER) tests/parallel tests/faults tests/cluster tests/real)

lint: install ## ruff, import-linter, codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

types: install ## mypy, strict
	$(BIN)/mypy

format: install ## format the code, and let ruff correct what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: install ## write deploy/*.lock, after a change of deploy/requirements*.txt, and deploy/licences.csv
	bash deploy/lock.sh
	bash deploy/install.sh
	$(PYTHON_VENV) deploy/licences.py

audit: install ## compare the locked packages with PyPI's list of known vulnerabilities
	$(BIN)/uv tool run pip-audit==2.10.1 --disable-pip --require-hashes $(foreach name,requirements tensorflow-cpu,-r deploy/$(name).lock)

bench: install ## every benchmark at its tiny size
	$(PYTHON_VENV) -m benchmarks --size tiny

clean: ## remove all generated files, except .venv
	rm -rf demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find etl trainer benchmarks tests -name __pycache__ -prune -exec rm -rf {} +
