# The first target fills .venv from requirements.lock. After that nothing is installed and no
# network is needed, until the lock or pyproject.toml changes.
#
# On Linux, PyPI's torch is the CUDA build: several GB. Without an NVIDIA GPU take the CPU build,
# by naming it at the first call (to change it later: `make distclean` first):
#
#     make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
#
# Another Python: make demo PYTHON=python3.12. More arguments: make test ARGS="-k mel -x".

PYTHON ?= python3
TORCH_INDEX ?=
ARGS ?=

BIN := .venv/bin
LOCK := .venv/requirements.lock
INSTALLED := .venv/.installed
EXTRA_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

# Off, wherever it is set: every process that a test starts would compile the package again, and
# bytecode that a plug-in file leaves beside itself would not be seen.
export PYTHONDONTWRITEBYTECODE :=

# 3.11 is requires-python; 3.14 is the last that the pinned packages have builds for.
PYTHON_FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
# pesq everywhere, and on Linux the libsvm that visqol-python needs, come as C sources.
NEED_COMPILER := pesq|visqol-python|libsvm-official
COMPILER_FITS := import os, shutil, sys; from sysconfig import get_config_var, get_path; \
	tools = [os.environ.get(n) or get_config_var(n) or "" for n in ("CC", "CXX")]; \
	headers = os.path.exists(os.path.join(get_path("include"), "Python.h")); \
	sys.exit(not (headers and all(shutil.which((t.split() or [""])[0]) for t in tools)))

.PHONY: help demo quick test browser-test lab docs site bench lint lock clean distclean

help:  ## what there is (also: plain `make`)
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 21

demo: $(INSTALLED)  ## reconstruct the bundled clip with the bundled model: results/demo/
	$(BIN)/vaerecon demo $(ARGS)

quick: $(INSTALLED)  ## the tests that start no process, in about a minute
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not process and not slow and not browser" $(ARGS)

test: $(INSTALLED)  ## run the tests, all but those in a browser
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

browser-test: $(INSTALLED)  ## try the notebooks in JupyterLab; needs chromium and chromedriver
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m browser \
		tests/lab/test_browser*.py $(ARGS)

lab: $(INSTALLED)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks $(ARGS)

docs: $(INSTALLED)  ## API reference from the docstrings: reports/site/api/index.html
	$(BIN)/python -m pdoc -d numpy -o reports/site/api vaerecon

site: docs  ## run the notebooks and make pages of them: reports/site/index.html
	$(BIN)/python -m vaerecon.lab.reports.site $(ARGS)

bench: $(INSTALLED)  ## measure speed and memory side by side with the plain calls: benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(INSTALLED)  ## check code and notebooks: rules, format, types, no stored outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify $(NOTEBOOKS))

$(LOCK): requirements.lock pyproject.toml
	@$(PYTHON) -c '$(PYTHON_FITS)' 2>/dev/null || { \
		echo "vaerecon needs Python 3.11 to 3.14; $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1)." >&2; \
		echo "Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@if $(BIN)/python -c '$(COMPILER_FITS)'; then cp requirements.lock $@; else \
		echo "No C and C++ compiler, or no Python.h: leaving out PESQ and ViSQOL, which will be null." >&2; \
		echo "To have them, install both (Debian: build-essential python3-dev), then make distclean." >&2; \
		grep -vE '^($(NEED_COMPILER))==' requirements.lock > $@; fi

$(INSTALLED): $(LOCK)
	$(BIN)/python -m pip install $(EXTRA_INDEX) -r $(LOCK)
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	@touch $@

# Pins for Linux, macOS and Windows and for every Python that fits; what is pinned already stays,
# unless ARGS=--upgrade (or ARGS="--upgrade-package NAME"). torch's pin stands in pyproject.toml.
define LOCK_HEADER
# Made by `make lock` from pyproject.toml; do not edit. Makefile and environment.yml install it.
# Without hashes: torch==2.13.0 is a CPU or a CUDA build, as the index in use offers, and one hash
# cannot hold for both. What the CUDA build needs besides (nvidia-*, triton) torch itself pins.
endef
export LOCK_HEADER

lock:  ## pin the dependencies anew: requirements.lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install uv==0.13.9
	cp requirements.lock build/requirements.lock
	build/lock/bin/uv pip compile pyproject.toml --quiet --all-extras --universal \
		--python-version 3.11 --no-python-downloads --fork-strategy fewest \
		--no-header --annotation-style line --output-file build/requirements.lock $(ARGS)
	@{ echo "$$LOCK_HEADER"; cat build/requirements.lock; } > requirements.lock

clean:  ## remove caches and build leftovers
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find vaerecon tests benchmarks tools -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## remove .venv too
	rm -rf .venv
