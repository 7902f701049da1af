# Six words: setup, check, test, reproduce, robustness, clean. PYTHON picks the interpreter.
PYTHON ?= python3
BIN := .venv/bin
CORES ?= 2
ARGS ?=

.PHONY: setup check test reproduce robustness clean

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "vismodels needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name one with: make $(MAKECMDGOALS) PYTHON=python3.11")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "cannot create .venv: on Debian and Ubuntu run apt-get install -y python3-venv"; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[workflows,dev]"
	$(BIN)/python -m vismodels.cli doctor
	@touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflows
	$(BIN)/snakemake --lint
	$(BIN)/python -m vismodels.publish --check

test: check
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow" --cov $(ARGS)
	$(BIN)/python -m pytest -m slow $(ARGS)

reproduce: setup
	$(BIN)/python -m vismodels.cli reproduce --cores $(CORES) $(ARGS)

robustness: setup
	$(BIN)/python -m pytest -m slow tests/robustness $(ARGS)

clean:
	rm -rf results logs .snakemake .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage dist build
