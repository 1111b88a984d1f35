# The environment is made on first use by whatever target needs it: no other step is required after a fresh clone.
#   make reproduce-atlas-vae PRESET=laptop SEEDS=5     make scan-atlas-vae WORKERS=2     make test EXTRA=gpu     make help

# What the command line or the environment gives is text: neither make nor a shell may read it as its own language. Recipes
# take it from their environment, in quotes; there are no defaults here, so nothing is exported that was not given.
TEXTS := PRESET SEEDS EXTRA RESULTS DATA TEST_DATA GEOMETRY ETA OPTIONS RUN RUNS INTO ONLY CHECK WORKERS PYTHON VENV OPENBLAS_NUM_THREADS TF_CPP_MIN_LOG_LEVEL
$(foreach name,$(TEXTS),$(if $(filter undefined,$(origin $(name))),,$(eval override export $(name) := $$(value $(name)))))

# A foreign environment (LCG, Athena) would put its packages before ours, and so would the user's own.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
export PYTHONNOUSERSITE := 1

VENV ?= .venv
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# Small matrices on a busy machine: several BLAS threads only wait for one another. TensorFlow has threads of its own.
export OPENBLAS_NUM_THREADS ?= 1

BUNDLED := --detector atlas-barrel --mantissa-bits 12 $${WORKERS:+--workers "$$WORKERS"}
DEPTHS := --depths --seed 3 --energies 256:8192:x2,16384,32768:65536:x2
ILD := --detector ild --mantissa-bits 12 $${WORKERS:+--workers "$$WORKERS"}
PIONS := --particle pion --physics ftfp-bert-datafree

LWTNN := https://github.com/lwtnn/lwtnn.git
LWTNN_VERSION := v2.14.1
LWTNN_TOOLS := export/lwtnn-tools

COMMA := ,
EXTRAS := bench cluster export geant4 gpu official
ifneq ($(filter-out $(EXTRAS),$(subst $(COMMA), ,$(EXTRA)))$(word 2,$(EXTRA)),)
$(error EXTRA must be of $(EXTRAS), joined by commas. Received: $(EXTRA))
endif
ifneq ($(shell case '$(subst ','\'',$(VENV))' in (''|*[!A-Za-z0-9._/+@-]*) echo refused;; esac)$(word 2,$(VENV)),)
$(error VENV must be a path of letters, digits and ._/+@-, as make knows it as a target. Received: $(VENV))
endif
BIN := $(VENV)/bin
READY := $(VENV)/.ready$(addprefix -,$(EXTRA))
# Two files of tests at a time, on two cores; each process holds TensorFlow.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile
CODE := $(wildcard calogen experiments export benchmarks tests)
TYPED := $(wildcard calogen experiments/*.py experiments/*/*.py export/*.py export/*/*.py benchmarks/*.py)
REPRODUCE := $(patsubst experiments/%.py,reproduce-%,$(subst _,-,$(filter-out experiments/scan.py,$(wildcard experiments/*.py))))
SCAN := $(patsubst experiments/scans/%.toml,scan-%,$(subst _,-,$(wildcard experiments/scans/*.toml)))

.DEFAULT_GOAL := help
.PHONY: help install $(REPRODUCE) $(SCAN) ablate-caloshowergan export-lwtnn lwtnn-tools test test-slow \
	test-versions lint format tables simulate simulate-ild benchmark clean

help: ## Show this text
	@awk -F ':.*## ' '/^[a-z$$].*:.*## / {sub(/\$$\(REPRODUCE\)/, "reproduce-<paper>", $$1); sub(/\$$\(SCAN\)/, "scan-<paper>", $$1); printf "%-20s %s\n", $$1, $$2}' \
		$(firstword $(MAKEFILE_LIST))
	@printf '\nPapers: %s\n' '$(REPRODUCE) $(SCAN)'
	@printf 'Options: PRESET=smoke|laptop|paper (laptop; of CaloShowerGAN and FastCaloGAN also long), SEEDS=<number> (1),'
	@printf ' EXTRA=gpu (CUDA build),'
	@printf ' RESULTS=experiments/results (publish the figures; then make tables), DATA=<file> and TEST_DATA=<file>'
	@printf ' (your own showers; RUNS=<folder> where they train: runs/own), WORKERS=<number> (1: processes of a scan),'
	@printf ' GEOMETRY=<binning.xml> and ETA=<100 times the lower edge of the slice> (voxels and slice of your showers; export'
	@printf '-lwtnn takes ETA, INTO=<one folder for all>, ONLY=<name of networks>),'
	@printf ' OPTIONS=\"--ablation ...\" (an experiment\047s own: python experiments/<paper>.py --help; words and quotes as in'
	@printf ' a shell, but nothing is expanded or run)\n'

install: $(READY) ## Make the environment (every other target does so by itself); EXTRA=gpu adds CUDA

$(READY): setup.cfg pyproject.toml
	@if test -n "$$PYTHON"; then set -- "$$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi; \
	for python; do if "$$python" -c '$(SUPPORTED)' 2>/dev/null; then exec "$$python" -m venv $(VENV); fi; done; \
	echo "calogen needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3" >&2; exit 2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev$(addprefix $(COMMA),$(EXTRA))]'
	@touch $@

$(REPRODUCE): reproduce-%: $(READY) ## Train, evaluate and report one paper; prints the report's path and the table
	@$(BIN)/python experiments/$(subst -,_,$*).py --preset="$${PRESET:-laptop}" --seeds="$${SEEDS:-1}" \
		--runs="$${RUNS:-runs$${DATA:+/own}}" $${RESULTS:+--results="$$RESULTS"} $${DATA:+--train-data="$$DATA"} \
		$${TEST_DATA:+--test-data="$$TEST_DATA"} $${GEOMETRY:+--geometry="$$GEOMETRY" $${ETA:+--eta="$$ETA"}} \
		$${OPTIONS:+--options="$$OPTIONS"}

# SEEDS and WORKERS have defaults in the grids' files and in the script; scans of your own showers lie beside their runs.
$(SCAN): scan-%: $(READY) ## Scan the hyperparameters of one paper on validation showers; WORKERS=<number>; resumes
	@test -z "$$TEST_DATA" || { echo "scan-$* takes no TEST_DATA: a part of DATA judges, which does not train" >&2; exit 2; }
	@test -z "$$GEOMETRY" || { echo "scan-$* takes no GEOMETRY: it scans in the paper's voxels or cells" >&2; exit 2; }
	@$(BIN)/python experiments/scan.py $* --preset="$${PRESET:-laptop}" --runs="$${RUNS:-runs$${DATA:+/own}}" \
		$${SEEDS:+--seeds="$$SEEDS"} $${WORKERS:+--workers="$$WORKERS"} $${RESULTS:+--results="$$RESULTS"} \
		$${DATA:+--train-data="$$DATA"} $${OPTIONS:+--options="$$OPTIONS"}

ablate-caloshowergan: $(READY) ## All networks of CaloShowerGAN's Tables 3 and 4, photons and pions, and what brought it nothing
	@test -z "$$DATA" || { echo "ablate-caloshowergan takes no DATA: it has photons and pions. One of them: make reproduce-caloshowergan or reproduce-caloshowergan-pions DATA=<file> OPTIONS=--ablation" >&2; exit 2; }
	$(MAKE) reproduce-caloshowergan reproduce-caloshowergan-pions OPTIONS="--ablation $$OPTIONS"

export-lwtnn: $(READY) ## Write every trained run (or RUN=<folder>, <pretrained>) for Athena, checked (if there is none, what ships and LWTNN can hold)
	@test "$${CHECK:-official}" = official || { echo "CHECK must be official. Received: $$CHECK" >&2; exit 2; }
	@$(BIN)/calogen export --output=export/out $${ETA:+--eta="$$ETA"} $${INTO:+--into="$$INTO"} $${ONLY:+--only="$$ONLY"} \
		$${RUN:+-- "$$RUN"}
	@test -z "$$CHECK" || $(BIN)/python export/official.py $${RUN:+-- "$$RUN"}

lwtnn-tools: $(READY) ## Get lwtnn's own converter, for make export-lwtnn CHECK=official
	@if test -f $(LWTNN_TOOLS)/converters/kerasfunc2json.py; then exit 0; fi; rm -rf $(LWTNN_TOOLS); \
	if GIT_TERMINAL_PROMPT=0 git -c advice.detachedHead=false clone --quiet --depth 1 --branch $(LWTNN_VERSION) \
		$(LWTNN) $(LWTNN_TOOLS) 2>/dev/null; then echo "$(LWTNN_TOOLS): lwtnn $(LWTNN_VERSION)"; \
	else echo "lwtnn-tools: skipped: cannot clone $(LWTNN) (no network?)"; fi

test: $(READY) ## Run the tests (minutes)
	$(PYTEST) -m "not slow"

test-slow: $(READY) ## Run the slow tests too
	$(PYTEST)

test-versions: $(READY) ## Run the tests on each Python found, with the newest and with the lowest versions allowed (hours)
	$(BIN)/python tests/versions.py

lint: $(READY) ## Check style, types and the tables of README.md and docs/results.md
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(TYPED)
	$(BIN)/calogen report --tables README.md --tables docs/results.md --check

format: $(READY) ## Put the code into the house style
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

tables: $(READY) ## Write the tables of README.md and docs/results.md from experiments/results
	$(BIN)/calogen report --tables README.md --tables docs/results.md

simulate: $(READY) ## Simulate the bundled showers again with Geant4 (seven CPU hours; resumes where it stopped)
	$(BIN)/calogen simulate $(BUNDLED) --particle photon --seed 1 --output calogen/data/photons_train.h5 \
		--energies 256:32768:x2,65536,131072,262144 --showers 3000,1500,800,400
	$(BIN)/calogen simulate $(BUNDLED) --particle photon --seed 1 --output calogen/data/photons_train_high.h5 \
		--energies 524288,1048576 --showers 60,30
	$(BIN)/calogen simulate $(BUNDLED) --particle photon --seed 2 --output calogen/data/photons_test.h5 \
		--energies 256:32768:x2,24576,65536,131072,262144,524288,1048576 --showers 250,250,250,200,150,60,30
	$(BIN)/calogen simulate $(BUNDLED) $(PIONS) --seed 1 --output calogen/data/pions_train.h5 \
		--energies 256:32768:x2,65536 --showers 3000,1500
	$(BIN)/calogen simulate $(BUNDLED) $(PIONS) --seed 2 --output calogen/data/pions_test.h5 \
		--energies 256:65536:x2 --showers 250
	$(BIN)/calogen simulate $(BUNDLED) $(DEPTHS),131072,262144 --showers 200,60,60,20,20 --output build/photon_depths.h5
	$(BIN)/calogen simulate $(BUNDLED) $(PIONS) $(DEPTHS) --showers 200,60,60 --output build/pion_depths.h5
	for particle in photon pion; do $(BIN)/python -m calogen.simulation.depths build/$${particle}_depths.h5 \
		calogen/data/$${particle}s_depths.json || exit 1; done

simulate-ild: $(READY) ## Simulate the bundled ILD photons again with Geant4 (half a CPU hour; resumes where it stopped)
	$(BIN)/calogen simulate $(ILD) --seed 1 --energies 10000:100000:uniform --showers 2400 \
		--output calogen/data/ild_photons_train.h5
	$(BIN)/calogen simulate $(ILD) --seed 2 --energies 10000:100000:uniform --showers 500 \
		--output calogen/data/ild_photons_test.h5
	$(BIN)/calogen simulate $(ILD) --seed 3 --energies 20000:90000:+10000 --showers 250 \
		--output calogen/data/ild_photons_steps.h5

benchmark: $(READY) ## Measure speed side by side (an otherwise idle machine, minutes)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean: ## Remove what can be made again, trained runs and the environment excepted
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
