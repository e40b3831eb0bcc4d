# make demo | test | check | bench | format: each makes .venv itself when it is missing or stale.
.PHONY: demo test check fast bench format artifact clean
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench
SETUP := pyproject.toml constraints.txt scripts/make_venv.sh

demo: $(STAMP)
	$(BIN)/cmm demo

$(STAMP): $(SETUP)
	bash scripts/make_venv.sh $(VENV) .
	touch $@

$(DEV_STAMP): $(SETUP)
	bash scripts/make_venv.sh $(VENV) ".[train,dev]"
	bash scripts/browser.sh
	touch $(STAMP) $@

$(BENCH_STAMP): $(DEV_STAMP)
	bash scripts/make_venv.sh $(VENV) ".[train,dev,bench]"
	touch $@

test: check

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadfile

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks

artifact: $(DEV_STAMP)
	$(BIN)/cmm train --quick --out models/artifacts/sim-smollm2

clean:
	rm -rf $(VENV) build *.egg-info
