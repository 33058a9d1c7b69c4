# `make demo` reproduces the tables and figures on the embedded data set, `make test` runs the tests.
# Both need only git, make and Python 3.11, 3.12 or 3.13 with venv.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := demo

# Python candidates in order; a candidate that is missing, does not start, or has another version is skipped.
PY        ?= python3.11 python3.12 python3.13 python3
CORES     ?= all
GPUS      ?= 2
PORT      ?= 5055
CONFIG    ?= .snakemake/configuration.yaml
TEST_JOBS ?= 2
CHAOS     ?=

RUN = python workflow/run.py --cores $(CORES) --resources gpu=$(GPUS) --rerun-incomplete --show-failed-logs

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export PYTHONNOUSERSITE := 1
# uv installs modules without bytecode. Unless Python may write it, every job compiles PyTorch and MLflow for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo full-demo smoke test test-fast bench bench-gpu cluster test-slurm chaos fuzz lint mlflow report docs full-docs photographs site lock setup clean

demo: setup  ## tables and figures of DM-GAN and AttnGAN on the embedded data set
	$(RUN)

full-demo: setup  ## every model and every table
	$(RUN) --configfile workflow/config/full-demo.yaml

smoke: setup  ## the whole DAG with every kind of job, at the smallest sizes
	$(RUN) --configfile workflow/config/smoke.yaml

test: setup  ## every test
	python -m pytest -n $(TEST_JOBS) --dist loadfile

test-fast: setup  ## the quick tests, for work in progress
	python -m pytest -n $(TEST_JOBS) --dist loadfile -m "not slow"

bench: setup  ## every benchmark, on an otherwise idle machine; figures and plots in benchmarks/
	python -m benchmarks

bench-gpu: setup  ## the tests and benchmarks of a GPU, in ten minutes; what they print in results/gpu/
	benchmarks/gpu.sh

cluster: setup .cluster/.stamp  ## Snakemake's plugins for clusters, in .cluster/: docs/clusters.md

test-slurm: cluster  ## the SLURM profile on a one-node cluster with two fake GPUs; needs Debian's slurm-wlm and munge
	PYTHONPATH=$(CURDIR)/.cluster tests/slurm/with_cluster.sh python -m pytest tests/slurm -p no:xdist

chaos: setup  ## faults at random moments in every kind of job; outcomes in benchmarks/reliability.md
	python -m benchmarks.chaos $(CHAOS)

fuzz: setup  ## 100,000 wrong files for every reader, for hours; counts in benchmarks/reliability.md
	python -m tests.fuzzing --coverage 100000
	python -c 'from benchmarks.reliability import write_page; write_page()'

lint: setup  ## ruff, the order of imports, snakefmt and snakemake --lint
	ruff check .
	ruff format --check .
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint

mlflow: setup  ## open MLflow
	python -m dmgan mlflow-ui --port $(PORT)

report: setup  ## results/DATASET/report/report.html and .pdf, and results/report.html (rules and run times) of the last run or CONFIG=FILE
	@test -f "$(CONFIG)" || { echo "$(CONFIG): is not there; run make demo first, or name a configuration that was run: make report CONFIG=FILE" >&2; exit 1; }
	snakemake --report results/report.html --configfile "$(CONFIG)"
	@ls results/*/report/report.html results/*/report/report.pdf

docs: setup  ## generated pages; the demo's numbers and pictures in README.md and docs/results.md (after make demo)
	python -m docs.paper_vs_release
	python -m docs.literature_page
	python -m docs.update_assets
	python -m docs.update_figures
	python -m docs.update_results

full-docs: setup  ## docs/full-demo.md (after make full-demo)
	python -m docs.update_full_demo

photographs: setup  ## docs/photographs.md (after the runs of cub50.yaml and flickr8k.yaml)
	python -m docs.update_photographs

site: setup  ## the documentation as a web site, site/index.html
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "site/index.html; with the search: mkdocs serve"

lock: setup  ## resolve the dependencies of pyproject.toml again
	python -m pip install --quiet uv
	uv pip compile pyproject.toml --extra workflow --extra tests --extra site --extra serve --extra hub --extra fuzz --output-file requirements.lock --upgrade --universal --fork-strategy fewest \
	    --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet

clean:  ## drop the environment and caches; results/ stays
	rm -rf .venv .cluster .pytest_cache .ruff_cache

setup: .venv/.stamp

# The path of a Python that requirements.lock supports, or empty.
supported = $(shell $(1) -c 'import ensurepip, os, sys, venv; print(os.path.realpath(sys.executable) if (3, 11) <= sys.version_info < (3, 14) else "")' 2>/dev/null)
PYTHON    = $(firstword $(foreach py,$(PY),$(call supported,$(py))))

# uv installs requirements.lock in a quarter of pip's time; if uv cannot be installed, pip installs the same lock.
.venv/.stamp: requirements.lock
	@test -n "$(PYTHON)" || { echo "none of $(PY) is Python 3.11, 3.12 or 3.13 with venv; install one, or name it: make PY=/path/to/python3.11" >&2; exit 1; }
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv || echo "uv cannot be installed; using pip"
	if test -x .venv/bin/uv; then \
	    VIRTUAL_ENV=$(CURDIR)/.venv .venv/bin/uv pip sync --quiet --require-hashes requirements.lock; \
	else \
	    .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock; \
	fi
	touch $@

# A folder of their own, as every start of Snakemake imports the plugins that it finds. The lock has what they need.
CLUSTER_EXTRA = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["cluster"])

.cluster/.stamp: pyproject.toml | .venv/.stamp
	rm -rf .cluster
	python -m pip install --quiet --no-deps --target .cluster $$(python -c '$(CLUSTER_EXTRA)')
	touch $@
