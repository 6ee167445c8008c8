# make book: the whole way from a fresh clone to the site, without a GPU. Everything resumes: what is up to date is skipped.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# A package index with smaller torch wheels, e.g. TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

export OMP_WAIT_POLICY := PASSIVE
export TQDM_DISABLE := 1

# Real objects for the experiments: a folder with gso/, abo_like/, ycb/ and splits.json.
REAL ?=

.PHONY: experiments help book notebooks site print test test-package test-site lint bench-splats bench-zeroverse bench-training gpu-check clean clean-all

help:
	@echo 'make book        install, run the stale notebooks, build the site, print the page to open'
	@echo 'make print       build the site and print the whole book to book/_build/lrm-zero-executable.pdf (needs Chromium)'
	@echo 'make notebooks   install and run the stale notebooks only'
	@echo 'make test        install, then style, tests, notebooks compared with a fresh run, site in a browser'
	@echo 'make bench-splats  the splat renderer against torch and C++, side by side (five minutes; needs a C++ compiler)'
	@echo 'make bench-zeroverse  the data engine against its demands, and against Blender if it is installed (ten minutes)'
	@echo 'make bench-training  where a training step goes, its memory and its threads, against the demands (a few minutes)'
	@echo 'make experiments  every experiment of chapters 5, 6 and 8 again from nothing (hours; REAL=DIR adds real objects), then those chapters'
	@echo 'make gpu-check   on a CUDA machine: tests, equivalence, speed, training, evaluation, into book/results/gpu'
	@echo 'make clean       remove the site and caches (clean-all: the environment $(VENV) as well)'
	@echo
	@echo 'PYTHON=python3.12       the Python to install with (3.11 or newer)'
	@echo 'TORCH_INDEX=URL         an extra package index, e.g. https://download.pytorch.org/whl/cpu for small CPU wheels of torch'

# The environment, remade only if the lock or the project file changed.
$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo 'No $(PYTHON) here: install Python 3.11 or newer, or name one as in `make book PYTHON=python3.12`.' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1 | cut -d' ' -f2), but 3.11 or newer is needed: name another as in \`make book PYTHON=python3.12\`." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { echo 'Python could not make an environment (on Debian and Ubuntu: apt install python3-venv).' >&2; exit 1; }
	@echo 'Installing into $(VENV) (a few minutes the first time)'
	@$(PIP) install -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.lock
	@$(PIP) install -q -e . --no-deps
	@touch $@

notebooks: $(READY)
	@$(BIN)/python book/run_notebooks.py

site: $(READY)
	@$(BIN)/python book/build_site.py

book: notebooks
	@$(BIN)/python book/build_site.py

print: $(READY)
	@$(BIN)/python book/build_site.py --print

lint: $(READY)
	@$(BIN)/ruff check .

# Two processes side by side: the site and the notebooks, and everything else.
SITE_TESTS := $(addprefix tests/test_,$(addsuffix .py,book lab lab_network links numbers outputs pages release solutions))

test: lint
	@$(MAKE) --no-print-directory -j2 test-package test-site

test-package: $(READY)
	@$(BIN)/python -m pytest $(addprefix --ignore=,$(SITE_TESTS))

test-site: $(READY)
	@$(BIN)/python -m pytest $(SITE_TESTS)
	@PYTHONPATH=tests $(BIN)/python -m pytest -q -p nbval_portable --nbval --nbval-current-env --nbval-cell-timeout 1200 \
		--nbval-sanitize-with tests/nbval_sanitize.cfg --rootdir . notebooks

bench-splats: $(READY)
	@TQDM_DISABLE=0 $(BIN)/python -m benchmarks.bench_splats

bench-zeroverse: $(READY)
	@TQDM_DISABLE=0 $(BIN)/python -m benchmarks.bench_zeroverse $(ARGS)

bench-training: $(READY)
	@TQDM_DISABLE=0 $(BIN)/python -m benchmarks.bench_training

# What is done is skipped; only the runs take long, their results are gathered in seconds.
experiments: $(READY)
	@TQDM_DISABLE=0 $(BIN)/lrmzero grid all $(if $(REAL),--real $(REAL))
	@$(BIN)/python book/run_notebooks.py 05_augmentations 06_stability 08_scaling

# Minutes for all steps together; half of them are the long training run, which goes on when it is called again.
MINUTES ?= 60
gpu-check: $(READY)
	@$(BIN)/python -m benchmarks.gpu_check --minutes $(MINUTES) $(ARGS)

clean:
	rm -rf book/_build runs/smoke runs/notebooks .pytest_cache .ruff_cache
	find lrmzero_lite tests book notebooks -name __pycache__ -prune -exec rm -rf {} +

clean-all: clean
	rm -rf $(VENV)
