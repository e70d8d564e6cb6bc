#!/bin/bash
# test.sh [PYTEST ARGUMENTS]: every test in one pytest run. Cluster and images come up beside it, while the tests run that need
# neither; tests/support/pytest_parts.py makes the first one that does wait for them, and prints the seconds of each part.
#   CLIPMODEL_TEST_KUBECONFIG=file  uses that cluster in place of kind's. Its nodes must get the images: either push them,
#                                   CLIPMODEL_IMAGE_PREFIX=registry/path/, or say where they are, CLIPMODEL_{OPERATOR,SYNC,TRITON,MODEL_SERVER}_IMAGE
#   CLIPMODEL_TEST_WORKERS=2        so many tests at once, each in a lane of its own (tests/support/pytest_lanes.py); 0: one after the other, for -s and --pdb
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/kind/lib.sh
cluster=clipmodel-test
log=$PWD/build/test-cluster.log ended=$PWD/build/test-cluster.ended
mkdir -p build
rm -f "$ended"
names=(CLIPMODEL_OPERATOR_IMAGE CLIPMODEL_SYNC_IMAGE CLIPMODEL_TRITON_IMAGE CLIPMODEL_MODEL_SERVER_IMAGE)
given=0
for name in "${names[@]}"; do [ -z "${!name:-}" ] || given=$((given + 1)); done

into=() prepare=()
if [ -n "${CLIPMODEL_TEST_KUBECONFIG:-}" ]; then
  [ -r "$CLIPMODEL_TEST_KUBECONFIG" ] || die "CLIPMODEL_TEST_KUBECONFIG: cannot read $CLIPMODEL_TEST_KUBECONFIG"
  [ $given = ${#names[@]} ] || [ -n "${CLIPMODEL_IMAGE_PREFIX:-}" ] ||
    die "a cluster of your own must get the images: CLIPMODEL_IMAGE_PREFIX=registry/path/ pushes them there, or set ${names[*]}"
else
  export CLIPMODEL_TEST_KUBECONFIG=$cache/$cluster.kubeconfig CLIPMODEL_TEST_KIND_NODE=$cluster-control-plane
  into=("$cluster")
  prepare=(tests/kind/up.sh "$cluster" 0 tests/kind/test-cluster.yaml.in)
fi
# The names are known before the images are: they are made of what goes in.
if [ $given != ${#names[@]} ]; then
  images=$(tests/kind/images.sh --names)
  while IFS='=' read -r name value; do export "$name=${!name:-$value}"; done <<<"$images"
fi

bring_up() {
  if [ ${#prepare[@]} -gt 0 ]; then "${prepare[@]}" || return; fi
  [ $given = ${#names[@]} ] || tests/kind/images.sh ${into[@]+"${into[@]}"}
}
step "cluster and images come up beside the tests (log: ${log#"$PWD"/})"
set -m # a process group of its own, so that an interrupted run leaves no half of it behind
{
  bring_up && status=0 || status=$?
  echo "$status" >"$ended.new" && mv "$ended.new" "$ended"
} >"$log" 2>&1 </dev/null &
job=$!
set +m
trap '[ -e "$ended" ] || kill -- -$job 2>/dev/null || true' EXIT

# Workers share the processors: torch's threads, one for each of them, would wait for each other at full speed.
workers=${CLIPMODEL_TEST_WORKERS:-2}
if [ "$workers" -gt 1 ] && [ -z "${OMP_NUM_THREADS:-}" ]; then
  threads=$(($(nproc) / workers))
  export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
fi
PYTHONPATH=tests CLIPMODEL_TEST_ENDED=$ended CLIPMODEL_TEST_LOG=$log \
  .venv/bin/pytest -p support.pytest_parts -n "$workers" "$@"
