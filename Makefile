# The entry points. Each sets up .venv first where it is missing or out of date.
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint kernels-test kernels-test-threads bench docs clean

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= python3

KERNEL_SOURCES := $(shell find kernels bindings -name '*.cc' -o -name '*.h' -o -name 'CMakeLists.txt') CMakeLists.txt
PIP_INSTALL    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

help:
	@echo "make demo       set up, train a classifier on handwritten digits, write runs/demo/report.html"
	@echo "make test       lint, the kernels' tests under sanitizers, then every Python test"
	@echo "make test-slow  the wide sweeps"
	@echo "make lint       ruff, mypy, clang-format"
	@echo "make bench      time every kind of layer against PyTorch (an idle machine, please)"
	@echo "make docs       execute the pages' examples and build them into site/"

$(VENV)/.base: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) torch==2.13.0
	$(PIP_INSTALL) scikit-build-core nanobind cmake ninja
	touch $@

# The native module, beside the Python sources; nothing where there is no C++ compiler.
CMAKE_WITH := $(BIN)/cmake -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja
build/.native: $(VENV)/.base $(KERNEL_SOURCES)
	$(CMAKE_WITH) -S . -B build -DPython_EXECUTABLE=$(abspath $(BIN))/python >build-configure.log || (cat build-configure.log; exit 1)
	@grep '^lamina:' build-configure.log || true
	@mv build-configure.log build/configure.log
	$(BIN)/cmake --build build
	touch $@

$(VENV)/.installed: $(VENV)/.base build/.native
	$(PIP_INSTALL) --no-build-isolation -e ".[keras]"
	@$(BIN)/python -W ignore -c "from lamina.ops.runtime import native; print(native.summary())"
	touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(PIP_INSTALL) --no-build-isolation -e ".[keras,test,lint,docs]"
	touch $@

demo: $(VENV)/.installed
	rm -rf runs/demo
	$(BIN)/lamina train --data digits --out runs/demo

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files '*.cc' '*.h' | xargs $(BIN)/clang-format --dry-run --Werror

# The kernels by themselves: no Python, no torch.
kernels-test: $(VENV)/.base
	$(CMAKE_WITH) -S kernels -B build/kernels-sanitized -DLAMINA_SANITIZE=address,undefined >/dev/null
	$(BIN)/cmake --build build/kernels-sanitized
	$(BIN)/ctest --test-dir build/kernels-sanitized --output-on-failure

kernels-test-threads: $(VENV)/.base
	$(CMAKE_WITH) -S kernels -B build/kernels-threads -DLAMINA_SANITIZE=thread >/dev/null
	$(BIN)/cmake --build build/kernels-threads
	$(BIN)/ctest --test-dir build/kernels-threads --output-on-failure

test: lint kernels-test
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.developer
	$(BIN)/python -m pytest -m slow

bench: $(VENV)/.installed
	$(BIN)/lamina bench layers --json benchmarks/results/layers.json

docs: $(VENV)/.developer
	$(BIN)/python -m pytest tests/test_docs.py
	$(BIN)/mkdocs build --strict --site-dir site

clean:
	rm -rf build site src/lamina/_native*.so
