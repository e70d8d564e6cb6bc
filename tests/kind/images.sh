#!/bin/bash
# images.sh [NAME]: the Dockerfile's images, built if their inputs changed, and loaded into the kind cluster NAME where a node lacks them.
# On standard output: CLIPMODEL_OPERATOR_IMAGE=... and so on, a line each, for a shell or the environment of the tests.
#   images.sh          builds them
#   images.sh --names  only prints the names
# A tag is the hash of what goes in: the same name is the same image, and nothing is built or loaded twice.
# CLIPMODEL_IMAGE_PREFIX=registry/path/ puts that before each name and pushes the images there: for clusters that are not kind's.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
root=$(cd "$here/../.." && pwd)
cd "$root"
targets=(operator sync triton-light model-server)

# What a target is made of, besides the Dockerfile (its COPY lines say the same).
inputs() {
  case $1 in
    operator) echo requirements/build.txt requirements/operator.txt pyproject.toml LICENSE operator/clipmodel_contract operator/clipmodel_operator ;;
    sync) echo requirements/build.txt requirements/sync.txt pyproject.toml LICENSE operator/clipmodel_contract operator/clipmodel_sync ;;
    triton-light) echo requirements/build.txt requirements/triton-light.txt triton_light ;;
    model-server) echo model_server ;;
  esac
}

image() { # TARGET
  local hash paths
  read -ra paths < <(inputs "$1")
  for path in "${paths[@]}" Dockerfile; do [ -e "$path" ] || die "$path is missing: this checkout is not complete"; done
  hash=$(find Dockerfile .dockerignore "${paths[@]}" -type f -not -path '*/__pycache__/*' -not -path '*/.*_cache/*' -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-12)
  echo "${CLIPMODEL_IMAGE_PREFIX:-}clipmodel-$1:dev-$hash"
}

print_names() {
  local target variable
  for target in "${targets[@]}"; do
    case $target in
      triton-light) variable=TRITON ;;
      *) variable=$(tr a-z- A-Z_ <<<"$target") ;;
    esac
    echo "CLIPMODEL_${variable}_IMAGE=$(image "$target")"
  done
}

build() { # TARGET IMAGE
  local platform=()
  # Triton's wheel is for x86-64 only; elsewhere Docker emulates it.
  if [ "$1" = triton-light ] && [ "$(uname -m)" != x86_64 ]; then platform=(--platform linux/amd64); fi
  docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0 # Debian's Docker has no buildx
  local log=$cache/build-image-$1.log
  docker build --network host ${platform[@]+"${platform[@]}"} --target "$1" --tag "$2" . >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    die "building $1 failed, its last words are above, all of them in $log"
  }
}

# The images that a node lacks. By ctr: our own node image has no crictl.
lacking() { # NODE IMAGE...
  local node=$1 have wanted
  shift
  have=$(docker exec "$node" ctr --namespace k8s.io images ls --quiet)
  for wanted; do
    case $wanted in */*) ;; *) wanted=docker.io/library/$wanted ;; esac
    grep -qxF "$wanted" <<<"$have" || echo "${wanted#docker.io/library/}"
  done
}

if [ "${1:-}" = --names ]; then
  print_names
  exit 0
fi
name=${1:-}
names=$(print_names) # before anything is built: an edit meanwhile must not give a name to other bytes

lock images
"$here/setup-docker.sh"
images=()
while IFS='=' read -r _ image; do images+=("$image"); done <<<"$names"
for i in "${!targets[@]}"; do
  ! docker image inspect "${images[$i]}" >/dev/null 2>&1 || continue
  "$here/build-base.sh"
  step "building ${images[$i]}"
  build "${targets[$i]}" "${images[$i]}"
  [ "$(image "${targets[$i]}")" = "${images[$i]}" ] || {
    docker rmi "${images[$i]}" >/dev/null
    die "the files of ${targets[$i]} changed while it was built: run this again"
  }
done
if [ -n "${CLIPMODEL_IMAGE_PREFIX:-}" ]; then
  for image in "${images[@]}"; do # layers that are there already are not sent again
    step "pushing $image"
    docker push --quiet "$image" >&2 || die "docker push failed: docker login, or another CLIPMODEL_IMAGE_PREFIX"
  done
fi

if [ -n "$name" ]; then
  nodes=$(docker ps --filter "label=io.x-k8s.kind.cluster=$name" --format '{{.Names}}')
  [ -n "$nodes" ] || die "no running kind cluster $name: up.sh $name"
  for node in $nodes; do
    missing=()
    while read -r image; do [ -z "$image" ] || missing+=("$image"); done < <(lacking "$node" "${images[@]}")
    [ ${#missing[@]} -gt 0 ] || continue
    step "loading into $node: ${missing[*]}"
    kind load docker-image "${missing[@]}" --name "$name" --nodes "$node" >"$cache/load.log" 2>&1 || {
      cat "$cache/load.log" >&2
      die "kind load failed"
    }
    # kind may say yes to an image that the node then lacks (another platform's): look
    [ -z "$(lacking "$node" "${images[@]}")" ] || die "$node still lacks: $(lacking "$node" "${images[@]}" | tr '\n' ' ')"
  done
fi
step "images are there${name:+, and in $name}"
echo "$names"
