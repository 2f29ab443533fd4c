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
	@echo "make test       run everything CI runs (PSYCHOSCORE_DATA=folder adds what needs EMOPIA)"
	@echo "make notebooks  execute the notebooks and store their outputs"
	@echo "make readme     write README.md from nbs/index.ipynb"
	@echo "make bench-data measure how fast pairs are made, against music21, pretty_midi and MidiTok"
	@echo "make bench-contrastive  measure time and memory of the contrastive losses"
	@echo "make bench-search  measure vector searches at 100,000 pieces, against scikit-learn and approximate ones"
	@echo "make bench-decode  measure how fast tokens are drawn, against transformers"
	@echo "make bench-compose measure what guidance, temperature and length do to the music (needs EMOPIA)"
	@echo "make bench-train DATA=FOLDER  measure the training loop, against transformers.Trainer"
	@echo "make estimators  learn the profile estimators from EMOPIA again (PSYCHOSCORE_DATA=folder, else a download)"
	@echo "make report DATA=FOLDER  measure the packaged model: dial, quality, novelty"
	@echo "make clean      remove what the others made"

.venv/.installed: settings.ini setup.py constraints.txt
	@echo "== installing into .venv (minutes the first time)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "psychoscore needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: .venv/.installed
	@git rev-parse --git-dir >/dev/null 2>&1 && $(BIN)/nbdev_install_hooks || echo "== not a git checkout: no hooks installed"

compose: .venv/.installed
	@echo "== composing 30 seconds for trauma 0.8, entropy 0.2"
	@OMP_NUM_THREADS=$$($(PYTHON) -c 'import os; print(os.cpu_count())') $(BIN)/psychoscore compose --trauma 0.8 --entropy 0.2 --seconds 30 --seed 0 -o out/piece.mid -o out/piece.wav -o out/piece.png

test: setup
	@echo "== notebooks are clean, exported, and the README is theirs"
	$(BIN)/python .ci/check_generated.py
	@echo "== notebooks" $(if $(FLAGS),with EMOPIA,"(PSYCHOSCORE_DATA is not a folder: cells flagged emopia are SKIPPED)")
	$(BIN)/nbdev_test --n_workers 2 $(if $(FLAGS),--flags "$(FLAGS)")
	@echo "== tests"
	$(BIN)/python -m pytest -q -rs tests
	@echo "== lint"
	$(BIN)/ruff check --select F,E9,B --ignore $(LINT_EXCEPT) psychoscore tests .ci setup.py
	@echo "== all passed"

notebooks: .venv/.installed
	$(BIN)/python .ci/execute_notebooks.py --flags "$(FLAGS)" $(sort $(wildcard nbs/foundations/*.ipynb)) $(sort $(wildcard nbs/*.ipynb))
	$(BIN)/nbdev_clean

readme: .venv/.installed
	$(BIN)/python .ci/make_readme.py

bench-data: .venv/.installed
	$(BIN)/python tests/bench_data.py --pairs 800 --memory --collection 50000 --out reports/bench_data.json

bench-contrastive: .venv/.installed
	$(BIN)/python tests/bench_contrastive.py

bench-search: .venv/.installed
	$(BIN)/python tests/bench_search.py --out reports/search.json

bench-decode: .venv/.installed
	OMP_NUM_THREADS=$$($(PYTHON) -c 'import os; print(os.cpu_count())') $(BIN)/python tests/bench_decode.py --rounds 5 --out reports/decode.json

bench-compose: .venv/.installed
	$(BIN)/python tests/bench_compose.py --out reports/compose

bench-train: .venv/.installed
	OMP_NUM_THREADS=$$($(PYTHON) -c 'import os; print(os.cpu_count())') $(BIN)/python tests/bench_train.py --data $(DATA)

estimators: .venv/.installed
	$(BIN)/python -c 'from psychoscore.evaluate import figures_table, make_estimators; print(figures_table(make_estimators("psychoscore/assets")).to_string())'

report: .venv/.installed
	OMP_NUM_THREADS=$$($(PYTHON) -c 'import os; print(os.cpu_count())') $(BIN)/psychoscore report --data $(DATA) --out reports

clean:
	rm -rf .venv out build dist *.egg-info _proc _docs

.PHONY: help setup compose test notebooks readme bench-data bench-contrastive bench-search bench-decode bench-compose bench-train estimators report clean
.DEFAULT_GOAL := help
