# setup, compose, test, notebooks, readme, clean: `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
# Torch notebooks on shared cores: OpenMP threads that spin cost ten times more than they give.
export OMP_NUM_THREADS ?= 1
CORES = $(shell $(PYTHON) -c 'import os; print(os.cpu_count())')
# Cells and tests flagged `emopia` run where the dataset is at hand.
FLAGS := $(if $(PSYCHOSCORE_DATA),$(if $(wildcard $(PSYCHOSCORE_DATA)/.),emopia))

# B905: rows that are zipped here are of one length by construction; B008: the defaults that are called are frozen.
LINT_EXCEPT := B905,B008

help:
	@echo "make setup      install everything into .venv"
	@echo "make compose    compose 30 seconds for trauma 0.8, entropy 0.2 into out/"
	@echo "make lab        open JupyterLab on the tutorial"
	@echo "make test       run everything CI runs (PSYCHOSCORE_DATA=folder adds what needs EMOPIA)"
	@echo "make notebooks  export and execute the notebooks, store their outputs, write README.md (NOTEBOOKS=... for some)"
	@echo "make readme     write README.md from nbs/index.ipynb"
	@echo "make docs       build the site into _docs and check its links; read it with: python3 -m http.server -d _docs"
	@echo "make bench      list the benchmarks; one of them: make bench NAME=decode, with options: ARGS=\"...\""
	@echo "make examples   compose the ten example pieces into reports/examples"
	@echo "make coverage   say which lines of the package no notebook and no test runs, into reports/coverage.md (many minutes)"
	@echo "make dist       build the wheel and the source archive into dist"
	@echo "make estimators learn the profile estimators from EMOPIA again (PSYCHOSCORE_DATA=folder, else a download)"
	@echo "make clean      remove what the others made"

# In steps, each with its line: pip alone says nothing for minutes, or hundreds of lines.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.venv/.installed: settings.ini setup.py constraints.txt $(wildcard csrc/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "psychoscore needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "== 1 of 4: an environment in .venv, which will hold 2.5 GB, or more where torch brings CUDA"
	@$(PYTHON) -m venv .venv
	@echo "== 2 of 4: torch, the largest download by far"
	@$(INSTALL) torch
	@echo "== 3 of 4: psychoscore, and all else that it needs"
	@$(INSTALL) -e .
	@echo "== 4 of 4: what serves, tests and documents it"
	@$(INSTALL) -e '.[dev]'
	@$(BIN)/psychoscore --version
	@echo "== installed; in this shell: source .venv/bin/activate"
	@touch $@

setup: .venv/.installed
	@git rev-parse --git-dir >/dev/null 2>&1 && $(BIN)/nbdev_install_hooks || echo "== not a git checkout: no hooks installed"

compose: .venv/.installed
	@echo "== composing 30 seconds for trauma 0.8, entropy 0.2"
	@OMP_NUM_THREADS=$(CORES) $(BIN)/psychoscore compose --trauma 0.8 --entropy 0.2 --seconds 30 --seed 0 -o out/piece.mid -o out/piece.wav -o out/piece.png

lab: .venv/.installed
	@$(BIN)/jupyter trust nbs/tutorials/*.ipynb # or JupyterLab hides the pictures that are stored in them
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/nbs/tutorials/first_arc.ipynb $(LAB_OPTIONS)

# Files are handed out whole: a long one that came last would leave one core idle. As listed, not by their number of tests.
LONGEST_FIRST := --no-loadscope-reorder tests/test_pipeline.py tests/test_serve.py tests/test_docs.py

test: setup
	@echo "== notebooks are clean, exported, and the README is theirs"
	$(BIN)/python .ci/check_generated.py
	@echo "== notebooks" $(if $(FLAGS),with EMOPIA,"(PSYCHOSCORE_DATA is not a folder: cells flagged emopia are SKIPPED)")
	$(BIN)/nbdev_test --n_workers 2 $(if $(FLAGS),--flags "$(FLAGS)")
	@echo "== tests, the docs site and its links among them"
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile $(LONGEST_FIRST) tests
	@echo "== lint"
	$(BIN)/ruff check --select F,E9,B --ignore $(LINT_EXCEPT) psychoscore tests bench .ci setup.py
	$(BIN)/mypy --strict --follow-imports=silent --ignore-missing-imports tests/typed_use.py
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows $(wildcard .github/workflows/*.yaml)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms $(filter-out %config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	@echo "== all passed"

NOTEBOOKS ?= $(sort $(wildcard nbs/*.ipynb nbs/*/*.ipynb))

notebooks: .venv/.installed
	$(BIN)/nbdev_export
	$(BIN)/python .ci/execute_notebooks.py --flags "$(FLAGS)" $(NOTEBOOKS)
	$(BIN)/nbdev_clean
	$(BIN)/python .ci/make_readme.py

readme: .venv/.installed
	$(BIN)/python .ci/make_readme.py

docs: .venv/.installed
	$(BIN)/python .ci/make_docs.py $(DOCS_OPTIONS)

examples: .venv/.installed
	$(BIN)/python .ci/make_examples.py $(MODEL)

psychoscore/assets/page/model/kernel.wasm: .ci/make_wasm.py $(wildcard csrc/*)
	$(PYTHON) .ci/make_wasm.py

coverage: .venv/.installed
	$(BIN)/python .ci/measure_coverage.py --flags "$(FLAGS)" --fail-under 85

# These measure a machine at work, so they get all its cores.
ALL_CORES := decode train report
# WSL has the machine's name there.
ifeq ($(origin NAME),environment)
NAME :=
endif
BENCHMARK = $(or $(filter-out bench/common.py,$(wildcard bench/$(notdir $(NAME)).py)),$(error there is no bench/$(NAME).py: `make bench` lists them))

bench: $(if $(NAME),.venv/.installed)
ifdef NAME
	$(if $(filter $(ALL_CORES),$(NAME)),OMP_NUM_THREADS=$(CORES)) $(BIN)/python $(BENCHMARK) $(ARGS)
else
	@$(PYTHON) .ci/list_benchmarks.py
endif

dist: .venv/.installed
	rm -rf dist && $(BIN)/python -m build --no-isolation --outdir dist

estimators: .venv/.installed
	$(BIN)/python .ci/make_estimators.py

clean:
	rm -rf .venv out build dist *.egg-info _proc _docs psychoscore/*.so

.PHONY: help setup compose lab test notebooks readme docs bench examples estimators coverage dist clean
.DEFAULT_GOAL := help
