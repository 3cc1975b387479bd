# Thin targets; each does its own set-up. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Debian's own Python is built with profile-guided optimisation, which others on the PATH may lack:
# 15,400 connections/s through lvsd instead of 13,000.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host \
	--no-emit-find-links --strip-extras --allow-unsafe --no-header --annotation-style=line
PYTEST ?= $(BIN)/python -m pytest
STOCK_TESTS ?= tests/netns/traffic tests/netns/io \
	$(filter-out %/test_selftest.py, $(wildcard tests/netns/modes/test_*.py))

BPF := $(patsubst %.c,%.o,$(wildcard lvsd/*/bpf/*.bpf.c lvsd/*/*/bpf/*.bpf.c))

# Tests start lvsd over and over: Python keeps what it has compiled, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

# Tests in namespaces wait a good part of their time: two more of them than there are processors.
NETNS_JOBS ?= $(shell echo $$(($$(nproc) + 2)))

.PHONY: help system venv bpf lock demo test check lint unit thorough netns kernel test-packages test-kernel \
	test-stock-kernel repeat record fuzz bench bench-compare docs pictures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

system: ## install the Debian packages (root on Debian or Ubuntu; elsewhere says what is missing)
	@packaging/install-debian-packages

$(VENV)/.ready: requirements/build.lock requirements/dev.lock pyproject.toml
	@packaging/install-debian-packages
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements/build.lock
	$(PIP) install --require-hashes --no-build-isolation -r requirements/dev.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

bpf: $(BPF) ## the programs that run in the kernel (clang, libbpf-dev)

# The headers of the architecture lie apart on Debian. mcpu=v2 is what every kernel with cgroup
# hooks understands.
%.bpf.o: %.bpf.c
	@packaging/install-debian-packages
	clang -O2 -g -Wall -Wextra -Werror -target bpf -mcpu=v2 \
		-idirafter /usr/include/$(shell uname -m)-linux-gnu -c $< -o $@

venv: $(VENV)/.ready ## .venv with lvsd and lvsadm in it, from the lock files
	@$(MAKE) --silent bpf || echo "without the programs of 'make bpf', some commands say so" >&2

lock: venv ## renew requirements/*.lock from pyproject.toml
	export CUSTOM_COMPILE_COMMAND='make lock'; \
	$(LOCK) --upgrade -o requirements/build.lock requirements/build.in; \
	$(LOCK) --upgrade -o requirements/run.lock pyproject.toml; \
	$(LOCK) --upgrade --extra top -o requirements/top.lock pyproject.toml; \
	$(LOCK) --upgrade --extra dev -o requirements/dev.lock pyproject.toml; \
	$(LOCK) --upgrade --extra fuzz -o requirements/fuzz.lock pyproject.toml

demo: venv ## real HTTP requests through lvsd: the four modes, then four schedulers
	$(BIN)/lvsd demo

# Tests in namespaces wait a good part of their time, and the kernel's run beside them: a minute less.
# So do mypy and sphinx, which use one processor for a good part of their time.
test: venv ## everything that CI runs, lint beside docs, netns beside kernel (root)
	@$(MAKE) --jobs 2 --output-sync=target lint docs
	@$(MAKE) unit
	@mkdir -p build; $(MAKE) kernel >build/kernel.log 2>&1 & kernel=$$!; trap "kill $$kernel" EXIT; \
	echo "make kernel runs beside make netns; what it says comes after that" >&2; \
	status=0; $(MAKE) netns || status=$$?; trap - EXIT; wait $$kernel || status=$$?; \
	cat build/kernel.log; exit $$status

check: lint ## lint, and unit with fewer examples: what every change should pass; no root
	@$(MAKE) unit PROFILE=quick

# Does nothing where all is there; without root it names what is missing, and tests are skipped.
test-packages:
	@packaging/install-debian-packages tests

lint: venv ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers auto

unit: venv test-packages ## tests that move no packet and need no root; PROFILE=quick
	$(PYTEST) -n auto --dist worksteal $(if $(PROFILE),--hypothesis-profile=$(PROFILE)) \
		tests/unit tests/property tests/golden

thorough: venv test-packages ## tests/property, each with four times the examples; PROFILE=random
	$(PYTEST) -n auto --hypothesis-profile=$(or $(PROFILE),thorough) tests/property

netns: venv test-packages ## real traffic in network namespaces (root), and a browser; NETNS_JOBS=1
	$(PYTEST) -n $(NETNS_JOBS) --dist loadfile tests/netns tests/browser

kernel: venv test-packages ## a part of test-kernel, about two minutes (root)
	@packaging/install-stock-kernel || echo "without it the tests of tests/kernel are skipped" >&2
	$(PYTEST) tests/kernel

test-kernel: venv ## lvsd beside kernel IPVS, all scenarios; writes docs/conformance.md (root)
	@packaging/install-stock-kernel
	$(PYTEST) tests/kernel --full --conformance docs/conformance.md

test-stock-kernel: venv ## real traffic on Debian's kernel, emulated (root); STOCK_TESTS=tests/netns/io
	@packaging/install-stock-kernel
	tests/stock_kernel/run -- $(PYTEST) -p no:cacheprovider --timeout 600 $(STOCK_TESTS)

repeat: venv ## unit, netns and kernel, RUNS=10 times; BUSY=1 keeps all processors busy beside (root)
	tests/repeat $(if $(RUNS),--runs $(RUNS)) $(if $(BUSY),--busy)

record: venv ## record anew what kernel IPVS and ipvsadm say (root)
	@packaging/install-stock-kernel
	$(BIN)/python tests/golden/lvsadm/record.py
	$(BIN)/python tests/golden/packet/record.py

fuzz: venv ## coverage-guided fuzzing of the packet path; FUZZ_SECONDS=60
	$(PIP) install --require-hashes -r requirements/fuzz.lock
	$(BIN)/python tests/fuzz/fuzz_packet.py -max_total_time=$${FUZZ_SECONDS:-60} -max_len=4096

bench: venv ## packets/s, memory, end to end against HAProxy and nginx
	$(BIN)/python -m bench

bench-compare: venv ## this tree against REV, in turns; ONLY='core-*' ROUNDS=15
	@test -n "$(REV)" || { echo "say which: make bench-compare REV=HEAD~1" >&2; exit 64; }
	$(BIN)/python -m bench compare $(REV) $(foreach name,$(ONLY),'$(name)') \
		$(if $(ROUNDS),--rounds $(ROUNDS))

docs: venv ## the documentation as a site, in build/docs; a broken link is an error
	$(BIN)/sphinx-build -W --keep-going -n -q -b html docs build/docs
	@echo "build/docs/index.html"

pictures: venv ## make anew what the pages show of lvsd's own output
	$(BIN)/python docs/made.py

clean: ## remove what make made
	rm -rf $(VENV) $(BPF) build dist *.egg-info .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
