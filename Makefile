# make demo        see it work: two SQLite files, a writer at work, shown equal (needs Python >= 3.11 only)
# make test        the whole suite on private real servers; installs what it needs
# make check       style, types and the import rule
# make docs        the documentation as a site, in site/; nothing in it is fetched from elsewhere
# make deep-crash  the crash tests with their full figures (about half an hour)
# make deep-mutations  break promises on purpose, and see tests fail
# make deep-big    memory and Ctrl-C with snapshots and transactions of 5 million rows (about 10 minutes)
# make deep-idle   what a follow with nothing to do costs (about 10 minutes)
# make deep-types  10,000 values of every type, there and back (about 15 minutes)
# make deep-service  what a supervisor and its workers cost and how quick they are (a few minutes)
# make bench       how fast it is beside native replication and psql (about half an hour)
# make clean       take away everything that these made
#
# PYTHON chooses the interpreter for the venv: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs deep-crash deep-mutations deep-big deep-idle deep-types deep-service bench clean

demo: $(VENV)/installed
	$(BIN)/syncline demo

test: $(VENV)/ready
	$(BIN)/pytest -m "not deep" --numprocesses 3 --dist worksteal

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/ready
	$(BIN)/python -m tools.pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

deep-crash: $(VENV)/ready
	$(BIN)/python -m tests.crash deep
	$(BIN)/python -m tests.crash deep --evolving
	$(BIN)/python -m tests.crash deep --evolving --to sqlite
	$(BIN)/python -m tests.crash deep --evolving --from sqlite --to postgres

deep-mutations: $(VENV)/ready
	$(BIN)/python -m tests.mutations

deep-big: $(VENV)/ready
	$(BIN)/python -m tests.deep.big

deep-idle: $(VENV)/ready
	$(BIN)/python -m tests.deep.idle

deep-types: $(VENV)/ready
	$(BIN)/pytest -m deep --timeout 1800 --durations 0 tests/values

deep-service: $(VENV)/ready
	$(BIN)/python -m tests.deep.service

bench: $(VENV)/ready
	$(BIN)/python -m bench postgres

clean:
	if [ -x $(BIN)/python ]; then \
		for folder in .services .services/gw*; do SYNCLINE_SERVICES=$$folder $(BIN)/python -m services down; done; fi
	rm -rf $(VENV) .services .demo .deep site build dist src/*.egg-info src/syncline/kernels/*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# What a user gets. Editable, so that the sources are what runs, but for the kernels: those are compiled.
KERNELS := setup.py $(wildcard src/syncline/kernels/*.py src/syncline/kernels/*.pxd)

$(VENV)/installed: pyproject.toml constraints.txt $(KERNELS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# What a developer needs besides.
$(VENV)/ready: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	touch $@
