# Everything a new user and CI type. Needs python3 (3.11 or newer), make and a C++ compiler; the rest is fetched.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# What the suite may not leave out; .ci/run adds chromium.
REQUIRE ?= cpu,emu
SOURCES := $(shell find cpp cuda python -type f \( -name '*.?pp' -o -name '*.cu*' -o -name '*.py*' -o -name '*.toml' \) -not -path '*/__pycache__/*')

.PHONY: demo test bench lint format build cuda sanitize clean

build: $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) scripts/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Not isolated from the environment, so that one build tree serves all that compile (demo, test, cuda): only what
# changed is compiled again. What is not ours is installed in the usual way.
$(VENV)/.tools: $(BIN)/python
	$(BIN)/python -m pip install --quiet 'scikit-build-core>=0.10,<2' 'pybind11>=2.13,<4' 'cmake>=3.24' ninja
	touch $@

INSTALL := $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -C build-dir=$(VENV)/build .

$(VENV)/.installed: $(VENV)/.tools pyproject.toml CMakeLists.txt $(SOURCES)
	SHOTSIEVE_EMU=OFF $(INSTALL)
	$(BIN)/python -m pip install --quiet 'shotsieve[plot]'
	touch $@
	rm -f $(VENV)/.tested

# The same with everything that tests need, and with the emulated device.
$(VENV)/.tested: $(VENV)/.tools pyproject.toml CMakeLists.txt $(SOURCES)
	SHOTSIEVE_EMU=ON $(INSTALL)
	$(BIN)/python -m pip install --quiet 'shotsieve[test]'
	touch $@ $(VENV)/.installed

# Simulate a raw run, reduce it, and say what was kept and why.
demo: build
	rm -rf demo
	$(BIN)/shotsieve simulate spi demo
	$(BIN)/shotsieve reduce demo/raw/r0001 -o demo/red/r0001 --recipe examples/spi.toml --constants demo/constants \
		--no-report
	$(BIN)/python examples/compare_with_truth.py demo
	$(BIN)/shotsieve report demo/red/r0001 --geometry demo/agipd.geom

test: $(VENV)/.tested
	$(BIN)/python -m pytest -q --doctest-modules --pyargs shotsieve
	SHOTSIEVE_REQUIRE=$(REQUIRE) $(BIN)/python -m pytest -n 2 -q

bench: $(VENV)/.tested
	$(BIN)/python -m pytest benchmarks -q --benchmark-disable-gc

$(VENV)/.lint: $(BIN)/python
	$(BIN)/python -m pip install --quiet 'ruff==0.17.5' 'clang-format==23.1.*'
	touch $@

CXX_FILES := $(shell find cpp cuda tests -name '*.?pp' -o -name '*.cu*')

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

# Compile for a GPU; needs nvcc, no GPU.
cuda: $(VENV)/.tools
	scripts/build-cuda

# The native tests under the address and undefined-behaviour sanitizers, and the emulated kernels' race check.
sanitize: $(VENV)/.tested
	scripts/sanitize

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .ruff_cache .hypothesis .benchmarks
