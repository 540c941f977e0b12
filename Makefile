# Everything that there is to do here; each target does its own set-up on first use.
#   make install   .venv with everything
#   make demo      a real trained network made fast, in a few minutes
#   make test      ruff, mypy, ctest, pytest
#   make bars      the long proofs, each figure beside its bound
#   make clean     back to a fresh clone

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo test bars clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt $(wildcard cpp/CMakeLists.txt cpp/core/*/* cpp/core/*/*/* cpp/python/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "hasten needs Python 3.11 or newer, and $(PYTHON) is not; say where it is: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment; install its venv module (Debian: python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	@touch $@

demo: install
	rm -rf out/digits out/digits.trials
	$(BIN)/hasten boost examples/digits/task.py -o out/digits --time 4m --json out/digits.json

test: install
	$(BIN)/ruff check .
	$(BIN)/mypy
	@mkdir -p build
	$(BIN)/cmake -S cpp -B build/cpp -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	  -DHASTEN_RUNTIME=ON -DHASTEN_PYTHON=$(CURDIR)/$(BIN)/python > build/cpp.log || { cat build/cpp.log; exit 1; }
	$(BIN)/cmake --build build/cpp --target all > build/cpp.log || { cat build/cpp.log; exit 1; }
	$(BIN)/ctest --test-dir build/cpp --output-on-failure
	$(BIN)/pytest -n 2 --dist loadfile

bars: install
	$(BIN)/python benchmarks/bars.py

clean:
	rm -rf .venv build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
