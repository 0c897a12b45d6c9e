# The entry points. Each sets up .venv first where it is missing or out of date.
.DEFAULT_GOAL := help
.PHONY: help demo quick test test-slow lint kernels-test kernels-test-threads kernels-test-neon kernels-syntax \
  bench dist docs clean

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= python3

KERNEL_SOURCES := $(shell find kernels bindings -name '*.cc*' -o -name '*.h' -o -name '*.in' -o -name '*.cmake' -o -name 'CMakeLists.txt') CMakeLists.txt
PIP_INSTALL    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

help:
	@echo "make demo       set up, train a classifier on handwritten digits, write runs/demo/report.html"
	@echo "make quick      between edits: lint and the fast tests, in two minutes"
	@echo "make test       lint, the kernels' tests under sanitizers, then every Python test"
	@echo "make test-slow  the wide sweeps"
	@echo "make lint       ruff, mypy, clang-format"
	@echo "make bench      time every kind of layer against PyTorch (an idle machine, please)"
	@echo "make dist       build sdist and wheel, try each in a fresh environment"
	@echo "make docs       execute the pages' examples and build them into site/"

# What compiles and packs; then what the commands need; then what work on lamina needs.
$(VENV)/.tools: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) build scikit-build-core nanobind cmake ninja
	touch $@

$(VENV)/.installed: $(VENV)/.tools
	$(PIP_INSTALL) --no-build-isolation -e ".[cli,train]"
	touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(PIP_INSTALL) --no-build-isolation -e ".[all,docs,lint,test]"
	touch $@

# The native module, beside the Python sources; nothing where there is no C++ compiler. `.native`
# has every instruction set of the processor's family, `.native-here` the scalar one and what this
# processor runs; the first serves whoever asks for the second. Ninja runs as many compilers as there
# are cores, whatever `make --jobs` says, so it is not told.
CMAKE_WITH := $(BIN)/cmake -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja
define BUILD_NATIVE
	@mkdir -p build
	$(CMAKE_WITH) -S . -B build -DPython_EXECUTABLE=$(abspath $(BIN))/python -DLAMINA_INSTRUCTION_SETS=$(1) \
	  >build/configure.log || (cat build/configure.log; exit 1)
	@grep '^lamina:' build/configure.log || true
	MAKEFLAGS= $(BIN)/cmake --build build
endef

build/.native: $(VENV)/.tools $(KERNEL_SOURCES)
	$(call BUILD_NATIVE,all)
	touch build/.native-here $@

build/.native-here: $(VENV)/.tools $(KERNEL_SOURCES)
	$(call BUILD_NATIVE,native)
	touch $@

# Packages are fetched while the kernels compile.
demo:
	$(MAKE) --jobs=2 $(VENV)/.installed build/.native-here
	@$(BIN)/python -W ignore -c "from lamina.ops.runtime import native; print(native.summary())"
	rm -rf runs/demo
	$(BIN)/lamina train --data digits --out runs/demo

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files '*.cc' '*.h' | xargs $(BIN)/clang-format --dry-run --Werror

# The kernels by themselves: no Python, no torch.
kernels-test: $(VENV)/.tools
	$(CMAKE_WITH) -S kernels -B build/kernels-sanitized -DLAMINA_SANITIZE=address,undefined >/dev/null
	$(BIN)/cmake --build build/kernels-sanitized
	$(BIN)/ctest --test-dir build/kernels-sanitized --output-on-failure

kernels-test-threads: $(VENV)/.tools
	$(CMAKE_WITH) -S kernels -B build/kernels-threads -DLAMINA_SANITIZE=thread >/dev/null
	$(BIN)/cmake --build build/kernels-threads
	$(BIN)/ctest --test-dir build/kernels-threads --output-on-failure

# What an edit breaks most often, in two minutes: formulas, reports, rules of the house, and each
# kind of layer against PyTorch's.
quick: $(VENV)/.developer build/.native-here
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m "not slow" tests/test_architecture.py tests/theory tests/report \
	  tests/inspector/test_count.py $(filter-out %test_every_layer.py \
	  %test_every_layer_elsewhere.py %test_bad_input.py \
	  %test_module_info.py,$(wildcard tests/nn/test_*.py))

# On an emulated processor: needs the packages g++-aarch64-linux-gnu and qemu-user.
kernels-test-neon: $(VENV)/.tools
	$(CMAKE_WITH) -S kernels -B build/kernels-neon -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
	  "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu" >/dev/null
	$(BIN)/cmake --build build/kernels-neon
	$(BIN)/ctest --test-dir build/kernels-neon --output-on-failure -R neon

# Compilers other than the usual one: those that are installed check the syntax of every variant.
OTHER_COMPILERS ?= clang++-19 clang++-16 g++-11
kernels-syntax: $(VENV)/.tools
	@for compiler in $(OTHER_COMPILERS); do \
	  command -v $$compiler >/dev/null || { echo "lamina: $$compiler is not installed, skipped"; continue; }; \
	  $(CMAKE_WITH) -S kernels -B build/kernels-$$compiler -DCMAKE_CXX_COMPILER=$$compiler -DLAMINA_SYNTAX_ONLY=ON \
	    >/dev/null && $(BIN)/cmake --build build/kernels-$$compiler || exit 1; \
	done

# Processes side by side, a file of tests in one: where threads spin while they wait, a second busy
# process makes both many times as slow.
SIDE_BY_SIDE := PYTHONHASHSEED=0 OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test: lint kernels-test build/.native
	$(SIDE_BY_SIDE) -m "not slow"

test-slow: $(VENV)/.developer build/.native
	$(SIDE_BY_SIDE) -m slow

bench: $(VENV)/.installed build/.native
	$(BIN)/lamina bench layers --json benchmarks/results/layers.json

# An sdist and the wheel made from it, each installed into a fresh environment outside of here and
# run there. The sdist's install compiles for this processor alone: the wheel has tried the others.
dist: $(VENV)/.tools
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(call TRY_DISTRIBUTION,dist/*.whl)
	SKBUILD_CMAKE_DEFINE=LAMINA_INSTRUCTION_SETS=native; export SKBUILD_CMAKE_DEFINE; \
	  $(call TRY_DISTRIBUTION,dist/*.tar.gz)

define TRY_DISTRIBUTION
	file=$$(echo $(abspath .)/$(1)); place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; set -e; \
	  $(PYTHON) -m venv $$place/venv; \
	  PIP_CONSTRAINT=$(abspath constraints.txt) $$place/venv/bin/python -m pip install --quiet \
	    --disable-pip-version-check "lamina[cli,train] @ file://$$file"; \
	  cd $$place; venv/bin/lamina doctor; venv/bin/lamina train --data digits --epochs 2 --out run
endef

docs: $(VENV)/.developer build/.native
	$(BIN)/python -m pytest -q tests/book
	$(BIN)/python -m book.build

clean:
	rm -rf build dist site src/lamina/_native*.so
