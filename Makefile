# `make demo`, `make studio` and `make test` are all a newcomer needs: they first bring .venv/ into being where it is missing or
# older than requirements/ (see tools/setup_env.sh).
PYTHON := .venv/bin/python
IMG ?=
STUDIO ?=
# Files in their own order: golden and integration tests take longest, so that many short files even out the end.
IN_PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

# albumentations would ask the network for its newest version at every import.
export NO_ALBUMENTATIONS_UPDATE := 1
# Where it is set, each of the many processes that tests start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo studio test test-unit fuzz corpus fuzz-studio archive-campaign lint format docs light-env env core-env

demo: light-env
	$(PYTHON) demo/colorization_demo.py $(if $(IMG),--img "$(IMG)") --out-dir results --overwrite

# Opens the studio at http://127.0.0.1:8000/; STUDIO has its options, such as --port 8001.
studio: light-env
	$(PYTHON) tools/serve.py $(STUDIO)

test: core-env
	$(PYTHON) -m pytest $(IN_PARALLEL)

test-unit: env
	$(PYTHON) -m pytest tests/unit $(IN_PARALLEL) -m "not slow"

# Damages thousands of files, kills writers and fills disks; FUZZ has options of tests/fuzz/campaign.py, such as --seed 7.
fuzz: env
	$(PYTHON) tests/fuzz/campaign.py $(FUZZ)

# Every container, depth, profile, orientation and damage through the whole way of a folder; CORPUS may have --sample.
corpus: env
	$(PYTHON) -W ignore tests/corpus/corpus.py $(CORPUS)

# Sends the studio damaged photos and requests, crowds and a day's work; FUZZ has options of tests/fuzz/studio.py.
fuzz-studio: env
	$(PYTHON) tests/fuzz/studio.py $(FUZZ)

# Archives by Ray: pace beside a plain run, killed workers and drivers, S3, a lost node; CAMPAIGN may have --photos 300.
archive-campaign: env
	$(PYTHON) tests/archive/campaign.py $(CAMPAIGN)

lint: env
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(PYTHON) -m codespell_lib

format: env
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

# The pages and the API from docstrings, into docs/_build/docs/index.html; a broken reference is an error.
docs: env
	$(PYTHON) -m sphinx -q -W --keep-going -c docs . docs/_build

light-env:
	@tools/setup_env.sh light

env:
	@tools/setup_env.sh

core-env:
	@tools/setup_env.sh core
