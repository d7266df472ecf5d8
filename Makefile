# Everything that cyclescope installs, builds and runs; `make help` lists it.
# Needs Debian 12, git, make and the network of the package registries.

# The Debian packages, one list for all: to compile, to run, to test, to format.
PACKAGES := \
    g++ cmake ninja-build pkg-config ccache \
    librdkafka-dev libsqlite3-dev nlohmann-json3-dev libfmt-dev libcli11-dev \
    libspdlog-dev libcurl4-openssl-dev libarchive-dev libunwind-dev \
    libyaml-cpp-dev \
    libgtest-dev libgmock-dev python3-dev \
    python3 python3-venv patch file tar gzip procps
TEST_PACKAGES := $(PACKAGES) binutils chromium mmdebstrap patchelf \
    podman runc conmon netavark aardvark-dns iptables catatonit uidmap
BENCH_PACKAGES := $(PACKAGES) libbenchmark-dev util-linux
FORMAT_PACKAGES := $(PACKAGES) clang-format clang-tidy

# The Python environments: name, then the locked requirements of each. Tests
# need all but the last.
TEST_ENVIRONMENTS := before published-fixes moto tests
ENVIRONMENTS := $(TEST_ENVIRONMENTS) bench
before_LOCK := fixtures/ccx/requirements-before.txt
published-fixes_LOCK := fixtures/ccx/requirements-published-fixes.txt
moto_LOCK := fixtures/platform/requirements-moto.txt
tests_LOCK := tests/requirements.txt
bench_LOCK := tests/bench/requirements.txt

# CPythons of other Debian suites that the tests run on, beside this machine's.
OTHER_PYTHONS := trixie=python3.13 forky=python3.14,python3.15

PYTHON := /usr/bin/python3
CMAKE_ARGS := -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
JOBS := $(shell nproc)
DEMO_ARGS ?=
DEMO = build/release/bin/cyclescope demo \
    $(if $(findstring --output,$(DEMO_ARGS)),,--output build/demo) $(DEMO_ARGS)
PYTEST_ARGS ?=
BENCH_ARGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test bench build format clean lock packages test-packages \
    bench-packages format-packages pythons tools image

help:
	@echo 'make demo    show cycles, memory and verdict on the real service'
	@echo '             (DEMO_ARGS="--archives 40" passes arguments on)'
	@echo 'make test    run every test'
	@echo 'make bench   time the inspector beside its peers'
	@echo '             (BENCH_ARGS=--quick: beside gc.collect() alone, a minute)'
	@echo 'make build   compile into build/release'
	@echo 'make image   build the image that `cyclescope kube` takes the inspector from'
	@echo 'make format  format the sources and check them with clang-tidy'
	@echo 'make lock    pin the Python packages anew'
	@echo 'make clean   remove build/'

demo: build environment-before environment-published-fixes environment-moto
	@echo 'demo: running $(DEMO)'
	@$(DEMO)

test: test-packages build pythons tools $(TEST_ENVIRONMENTS:%=environment-%)
	@echo 'test: C++ tests, waiting for ctest (seconds)'
	@ctest --test-dir build/release -j$(JOBS) --output-on-failure
	@echo 'test: compiling graph and collector with sanitizers (minutes)'
	@cmake --preset asan $(CMAKE_ARGS) >/dev/null
	@cmake --build --preset asan --target graph_test cpython_test \
	    collector_test agent_test injector_test
	@echo 'test: C++ tests under the sanitizers, waiting for ctest'
	@ctest --test-dir build/asan -j$(JOBS) --output-on-failure
	@if ls /usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-x86_64.a \
	    >/dev/null 2>&1; then \
	    echo 'test: fuzzing the reader of heap files, 10 s'; \
	    cmake --preset fuzz $(CMAKE_ARGS) >/dev/null && \
	    cmake --build --preset fuzz --target heap_file_fuzz && \
	    { build/fuzz/bin/heap_file_fuzz -max_total_time=10 -max_len=8192 \
	        -artifact_prefix=build/fuzz/ >build/fuzz/log 2>&1 || \
	        { tail -40 build/fuzz/log >&2; exit 1; }; }; \
	else echo 'test: no fuzzing, clang-14 and libclang-rt-14-dev are missing'; \
	fi
	@echo 'test: live processes and the demo path, waiting for pytest (minutes)'
	@build/venvs/tests/bin/python -m pytest tests $(PYTEST_ARGS)

bench: bench-packages build environment-bench
	@build/venvs/bench/bin/python tests/bench/inspector_speed.py \
	    --build build/release $(BENCH_ARGS)

build: packages
	@echo 'build: compiling into build/release, waiting for cmake and ninja'
	@cmake --preset release $(CMAKE_ARGS) >/dev/null
	@cmake --build --preset release

format: format-packages
	@echo 'format: clang-format over all C++ files'
	@git ls-files -co --exclude-standard '*.cc' '*.h' | xargs clang-format -i
	@echo 'format: compiling, then waiting for clang-tidy (minutes)'
	@cmake --preset dev $(CMAKE_ARGS) >/dev/null
	@cmake --build --preset dev
	@run-clang-tidy -quiet -p build/dev "^$(CURDIR)/[a-z]+/"

clean:
	@echo 'clean: removing build/, the Python environments included'
	@rm -rf build

# Asks dpkg each time (it takes 50 ms) instead of remembering an answer that
# someone may have made untrue since.
define install
	@command -v dpkg-query >/dev/null || { echo 'make: this is no Debian;' \
	    'install the equivalents of these packages and run make with' \
	    'PACKAGES= TEST_PACKAGES= BENCH_PACKAGES= FORMAT_PACKAGES=:' \
	    '$(1)' >&2; exit 1; }
	@missing=$$(comm -23 <(printf '%s\n' $(1) | sort -u) \
	    <(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(1) \
	        2>/dev/null | sed -n 's/^installed //p' | sort -u) | xargs); \
	[ -n "$$missing" ] || exit 0; \
	if [ $$(id -u) -ne 0 ]; then \
	    echo "make: Debian packages are missing; run as root:" \
	        "apt-get install --no-install-recommends $$missing" >&2; exit 1; \
	fi; \
	echo "packages: installing with apt-get, a minute or two: $$missing"; \
	mkdir -p build/setup; log=build/setup/packages.log; \
	apt='apt-get -q -o DPkg::Lock::Timeout=300'; \
	late='-o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false'; \
	$$apt update >$$log 2>&1 || $$apt $$late update >>$$log 2>&1 || \
	    echo 'packages: apt-get update failed in part; trying all the same'; \
	DEBIAN_FRONTEND=noninteractive $$apt install -y \
	    --no-install-recommends $$missing >>$$log 2>&1 || { \
	    echo "make: apt-get cannot install the Debian packages:" \
	        "$$(grep '^E:' $$log | tail -1); see $$log, mend the apt sources" \
	        "or install these by hand: $$missing" >&2; exit 1; }
endef

packages:
	$(if $(strip $(PACKAGES)),$(call install,$(PACKAGES)))

test-packages:
	$(if $(strip $(TEST_PACKAGES)),$(call install,$(TEST_PACKAGES)))

bench-packages:
	$(if $(strip $(BENCH_PACKAGES)),$(call install,$(BENCH_PACKAGES)))

format-packages:
	$(if $(strip $(FORMAT_PACKAGES)),$(call install,$(FORMAT_PACKAGES)))

# For the tests; what cannot be had is skipped by name.
pythons: test-packages
	@tests/support/debian_pythons $(OTHER_PYTHONS)

# For the tests, too.
tools: test-packages
	@tests/support/debian_tools trixie docker-compose kustomize

# The inspector alone, for pods; see `cyclescope kube --help`.
image: build
	@echo 'image: building localhost/cyclescope, waiting for podman'
	@podman build --quiet --file Containerfile \
	    --tag localhost/cyclescope:$$(build/release/bin/cyclescope --version) \
	    build/release/lib/cyclescope

# An environment is made anew when its lock file has other contents than the
# one it was made from, or the folder has moved: both are in the stamp's name.
define environment
$(1)_STAMP := build/setup/$(1)-$$(shell { pwd; cat $$($(1)_LOCK); } | \
    sha256sum | head -c 16)
environment-$(1): $$($(1)_STAMP)
.PHONY: environment-$(1)
$$($(1)_STAMP): | packages
	@echo 'setup: installing $$($(1)_LOCK) into build/venvs/$(1),' \
	    'waiting for pip (10 s)'
	@mkdir -p build/setup
	@rm -rf build/venvs/$(1) build/setup/$(1)-*
	@$$(PYTHON) -m venv build/venvs/$(1)
	@build/venvs/$(1)/bin/python -m pip install --no-input --no-deps \
	    --require-hashes --no-build-isolation -r $$($(1)_LOCK) \
	    >build/setup/$(1).log 2>&1 || { echo "make: pip cannot install" \
	    "$$($(1)_LOCK): $$$$(grep -a ERROR build/setup/$(1).log | head -1);" \
	    "see build/setup/$(1).log and check the network" >&2; exit 1; }
	@touch $$@
endef
$(foreach name,$(ENVIRONMENTS),$(eval $(call environment,$(name))))

# Keeps the versions that the lock files have, as far as the .in files allow.
lock: packages
	@echo 'lock: resolving the .in files, waiting for pip-compile (a minute)'
	@rm -rf build/venvs/lock
	@$(PYTHON) -m venv build/venvs/lock
	@build/venvs/lock/bin/python -m pip install -q pip-tools==7.6.2
	@for lock in $(foreach name,$(ENVIRONMENTS),$($(name)_LOCK)); do \
	    CUSTOM_COMPILE_COMMAND='make lock' build/venvs/lock/bin/pip-compile -q \
	    --generate-hashes --allow-unsafe --strip-extras --no-annotate \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --output-file $$lock $${lock%.txt}.in; done
