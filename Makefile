# Two commands do everything on a fresh machine with python3 (>= 3.11):
#   make demo   searches a recurrent cell on a small text, without downloads
#   make test   installs what the tests need and runs them
# make reference writes the API reference.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# enas_jax names what a notebook needs; the rest is in its folders.
ROOMS := $(patsubst %/__init__.py,enas_jax.%,$(patsubst enas_jax/%,%,$(wildcard enas_jax/*/__init__.py)))

.PHONY: demo test lint reference clean

demo: $(VENV)/.installed
	$(BIN)/python -m experiments.ptb_search --preset=smoke --dataset=python_docs

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal --durations 30

lint: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

# Pages about every module, from its docstrings, in build/reference. Those that
# import PyTorch, an extra, have it in their names.
reference: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python -m pdoc --docformat google --output-directory build/reference enas_jax $(ROOMS) '!.*torch'

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
