# setup, compose, test, notebooks, readme, clean: `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
# Torch notebooks on shared cores: OpenMP threads that spin cost ten times more than they give.
export OMP_NUM_THREADS ?= 1
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
	@echo "make bench-data measure how fast pairs are made, against music21, pretty_midi and MidiTok"
	@echo "make bench-contrastive  measure time and memory of the contrastive losses"
	@echo "make bench-search  measure vector searches at 100,000 pieces, against scikit-learn and approximate ones"
	@echo "make bench-decode  measure how fast tokens are drawn, against transformers"
	@echo "make bench-compose measure what guidance, temperature and length do to the music (needs EMOPIA)"
	@echo "make bench-train DATA=FOLDER  measure the training loop, against transformers.Trainer (a quarter of an hour)"
	@echo "make sweep DATA=FOLDER RUNS=FOLDER  train and judge kinds and weights of the contrastive loss (two hours of a core; goes on when killed)"
	@echo "make ablations DATA=FOLDER ABSOLUTE=FOLDER RUNS=FOLDER  the sweep, then what each part of the recipe is worth (three and a half hours)"
	@echo "make bench-sound measure renderers of soundfonts (needs tinysoundfont: .venv/bin/pip install --no-deps tinysoundfont)"
	@echo "make bench-serve  measure the server: speed side by side, first segment, a thousand requests with a kill"
	@echo "make piano      cut the piano's samples again (needs npm)"
	@echo "make examples   compose the ten example pieces into reports/examples"
	@echo "make coverage   say which lines of the package no notebook and no test runs, into reports/coverage.md (many minutes)"
	@echo "make dist       build the wheel and the source archive into dist"
	@echo "make estimators  learn the profile estimators from EMOPIA again (PSYCHOSCORE_DATA=folder, else a download)"
	@echo "make search-listener  compare listeners by cross-validation over EMOPIA's training songs (seven minutes of a core)"
	@echo "make report DATA=FOLDER  measure the packaged model: dial, quality, novelty"
	@echo "make clean      remove what the others made"

# In steps, each with its line: pip alone says nothing for minutes, or hundreds of lines.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.venv/.installed: settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "psychoscore needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "== 1 of 4: an environment in .venv, which will hold 2.5 GB, or more where torch brings CUDA"
	@$(PYTHON) -m venv .venv
	@echo "== 2 of 4: torch, the largest download by far"
	@$(INSTALL) torch
	@echo "== 3 of 4: psychoscore, and all else that it needs"
	@$(INSTALL) -e .
	@echo "== 4 of 4: what serves, tests and documents it"
	@$(INSTALL) -e '.[dev]'
	@echo "== installed; in this shell: source .venv/bin/activate"
	@touch $@

setup: .venv/.installed
	@git rev-parse --git-dir >/dev/null 2>&1 && $(BIN)/nbdev_install_hooks || echo "== not a git checkout: no hooks installed"

compose: .venv/.installed
	@echo "== composing 30 seconds for trauma 0.8, entropy 0.2"
	@OMP_NUM_THREADS=$$($(PYTHON) -c 'import os; print(os.cpu_count())') $(BIN)/psychoscore compose --trauma 0.8 --entropy 0.2 --seconds 30 --seed 0 -o out/piece.mid -o out/piece.wav -o out/piece.png

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

# What a target cannot do without, such as DATA=FOLDER.
need = $(if $($(1)),,$(error give $(1)=FOLDER; `make` alone shows how))

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

piano: .venv/.installed
	$(BIN)/python .ci/make_piano.py

coverage: .venv/.installed
	$(BIN)/python .ci/measure_coverage.py --flags "$(FLAGS)" --fail-under 85

dist: .venv/.installed
	rm -rf dist && $(BIN)/python -m build --no-isolation --outdir dist

bench-data: .venv/.installed
	$(BIN)/python bench/data.py --pairs 800 --memory --collection 50000 --out reports/bench/data.json

bench-contrastive: .venv/.installed
	$(BIN)/python bench/contrastive.py --out reports/bench/contrastive.json

bench-search: .venv/.installed
	$(BIN)/python bench/search.py --out reports/bench/search.json

bench-decode: .venv/.installed
	OMP_NUM_THREADS=$$($(PYTHON) -c 'import os; print(os.cpu_count())') $(BIN)/python bench/decode.py --rounds 5 --out reports/bench/decode.json

bench-compose: .venv/.installed
	$(BIN)/python bench/compose.py --out reports/bench/compose

bench-train: .venv/.installed
	$(call need,DATA)
	OMP_NUM_THREADS=$$($(PYTHON) -c 'import os; print(os.cpu_count())') $(BIN)/python bench/train.py --data $(DATA) --out reports/bench/train.json

sweep: .venv/.installed
	$(call need,DATA)$(call need,RUNS)
	$(BIN)/python bench/ablations.py --data $(DATA) --runs $(RUNS) --only sweep

ablations: .venv/.installed
	$(call need,DATA)$(call need,ABSOLUTE)$(call need,RUNS)
	$(BIN)/python bench/ablations.py --data $(DATA) --absolute $(ABSOLUTE) --runs $(RUNS)

bench-sound: .venv/.installed
	$(BIN)/python bench/sound.py

bench-serve: .venv/.installed
	$(BIN)/python bench/serve.py --out reports/bench/serve.json

estimators: .venv/.installed
	$(BIN)/python -c 'from psychoscore.estimators import figures_table, make_estimators; print(figures_table(make_estimators("psychoscore/assets")).to_string())'
	$(BIN)/python -c 'from psychoscore.dial import save_relations; print(save_relations("psychoscore/assets"))'

search-listener: .venv/.installed
	$(BIN)/python bench/listener.py --out reports/bench/listener/search.csv

report: .venv/.installed
	$(call need,DATA)
	CORES=$$($(PYTHON) -c 'import os; print(os.cpu_count())'); OMP_NUM_THREADS=$$CORES $(BIN)/psychoscore report --data $(DATA) --takes 8 --processes $$CORES --out reports/report

clean:
	rm -rf .venv out build dist *.egg-info _proc _docs

.PHONY: help setup compose lab test notebooks readme bench-data bench-contrastive bench-search bench-decode bench-train sweep ablations estimators search-listener report bench-compose bench-serve bench-sound piano docs examples coverage dist clean
.DEFAULT_GOAL := help
