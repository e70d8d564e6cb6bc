# make help lists what there is. Every target works from a fresh clone: what it needs is made first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# onnxruntime sends telemetry from Linux, and the hub's client too, unless these are set before they are loaded.
export ORT_DISABLE_TELEMETRY := 1
export HF_HUB_DISABLE_TELEMETRY := 1

# No ?=: an environment may have a NAME of its own (WSL's is the machine's).
NAME := clipmodel
TEST_CLUSTER := clipmodel-test
ARGS :=

RUN := .venv/bin/
CHAOS = CLIPMODEL_TEST_WORKERS=0 CLIPMODEL_TEST_KILLS=$(or $(N),50) CLIPMODEL_TEST_SEED=$(SEED) hack/test.sh -s tests/cluster/test_chaos.py $(ARGS)
CRD := crds/clipmodel.dev_clipmodels.yaml
SHELL_SCRIPTS := $(wildcard hack/*.sh tests/kind/*.sh requirements/*.sh) tests/kind/runc-capped tests/kind/node/entrypoint tests/kind/node/iptables tests/kind/node/kubelet-cgroups .ci/run

##@ Every day
.PHONY: help setup fmt check lint type imports crds-check probe-check shell test test-fast cluster-test chaos golden crds probe lock verify

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z][a-z-]*:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# .made is touched by the script, which compares contents: a checkout that only changes times costs nothing.
setup: .venv/.made ## .venv with the `clipmodel` command and everything that the checks and tests need
	@: # said by the script
.venv/.made: hack/setup.sh hack/uv.txt pyproject.toml requirements/dev.txt requirements/build.txt
	@hack/setup.sh

fmt: setup ## format the code, and mend what the linter can mend
	$(RUN)ruff check --fix --quiet . || true
	$(RUN)ruff format .

check: lint type imports crds-check probe-check shell ## lint, format, types, layers, CRD and startup probe up to date, shell scripts

lint: setup ## ruff: lint and format
	$(RUN)ruff check .
	$(RUN)ruff format --check .

type: setup ## mypy, strict
	$(RUN)mypy operator export tests demo bench hack

imports: setup ## import-linter: imports only point down (.importlinter)
	$(RUN)lint-imports --no-logo

crds-check: setup ## is crds/ what the models say?
	@$(RUN)clipmodel crd | diff -u $(CRD) - || { echo "$(CRD) is stale: make crds" >&2; exit 1; }

probe-check: setup ## is the startup probe what its sources are?
	@$(RUN)python hack/build_probe.py --check

shell: ## shellcheck, where it is installed
	@if command -v shellcheck >/dev/null; then shellcheck --external-sources $(SHELL_SCRIPTS); \
	else echo "shellcheck is not here (Debian: apt-get install shellcheck): shell scripts are not checked"; fi

##@ Tests (ARGS="-k name" goes to pytest)
test: setup ## every check and test, with cluster and images, in one summary
	@hack/test.sh $(ARGS)

test-fast: setup ## what needs neither cluster, Docker nor torch: a minute
	@PYTHONPATH=tests $(RUN)pytest -p support.pytest_parts -n $${CLIPMODEL_TEST_WORKERS:-2} $(addprefix --ignore=tests/,check cluster api export) -m "not cluster and not triton and not export and not long" $(ARGS)

cluster-test: setup ## only what needs a cluster or the images
	@hack/test.sh -m "cluster or triton" $(ARGS)

chaos: setup ## kill the operator N times (50) at random moments of a stream of edits, under traffic (SEED=n plays a run again); with FOR=600, draw walks through the simulated cluster for so many seconds
	$(if $(FOR),@PYTHONPATH=tests CLIPMODEL_TEST_WALK_S=$(FOR) $(RUN)pytest tests/sequence/test_walk.py -k hypothesis $(ARGS),@$(CHAOS))

golden: setup ## write the golden files again: read the diff
	$(RUN)pytest tests/golden --update-golden $(ARGS) || true
	@git status --short tests/golden

##@ What is generated
crds: setup ## crds/ out of the models
	@mkdir -p build $(dir $(CRD))
	$(RUN)clipmodel crd >build/crd.yaml
	@mv build/crd.yaml $(CRD)

probe: setup ## the startup probe, out of what it needs of the contract and its main program
	$(RUN)python hack/build_probe.py

lock: setup ## requirements/*.txt out of pyproject.toml (ARGS="--upgrade")
	UV=$(CURDIR)/.venv/bin/uv requirements/lock.sh $(ARGS)

verify: crds probe golden ## generate everything again, and fail unless the checkout is clean
	@if [ -n "$$(git status --porcelain)" ]; then git status --short; git --no-pager diff --stat; \
	  echo "not clean: commit what is above, or make crds probe golden and look at the difference" >&2; exit 1; fi

##@ Cluster and demo
.PHONY: images cluster cluster-down demo demo-down clean

images: ## build the images (CLIPMODEL_IMAGE_PREFIX=registry/path/ also pushes them)
	@tests/kind/images.sh

cluster: ## a kind cluster NAME (clipmodel), as context kind-NAME
	@tests/kind/up.sh --export $(NAME) >/dev/null

cluster-down: ## delete the kind clusters NAME (clipmodel) and clipmodel-test
	@tests/kind/down.sh $(NAME)
	@tests/kind/down.sh $(TEST_CLUSTER)

demo: setup ## from nothing to the embedding of two photographs: cluster, images, operator, model, ClipModel
	@$(RUN)python -m demo up

demo-down: setup ## remove what the demo made
	@$(RUN)python -m demo down

clean: ## remove .venv, build/ and the tools' caches (clusters: cluster-down; what they are made of: ~/.cache/clipmodel-kind)
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Benchmarks (docs/benchmarks.md; each brings up the kind cluster clipmodel-bench)
.PHONY: bench-apply bench-live bench-scale bench-down

bench-apply: setup ## from an applied ClipModel to the first right embedding, beside the same by hand (ARGS="--tiny --runs 3")
	@$(RUN)python -m bench apply $(ARGS)

bench-live: setup ## from an edit to its effect on all pods, beside the load API by hand (ARGS="--tiny --runs 3")
	@$(RUN)python -m bench live $(ARGS)

bench-scale: setup ## N=200 ClipModels on a real API server with simulated pods, beside the bare writes (ARGS="--runs 3")
	@$(RUN)python -m bench scale --number $(or $(N),200) $(ARGS)

bench-down: ## delete the cluster of the benchmarks
	@tests/kind/down.sh clipmodel-bench
