# shellcheck shell=bash
# Sourced by the scripts beside it: versions, places, messages. Nothing is ever written beside the scripts.
KUBERNETES_VERSION=v1.34.4 # of our own node image; go/go.mod has the same; from 1.35 on kubelet refuses cgroup v1
KIND_MINOR=33              # kind v0.33, as go/go.mod has it; a kind in PATH fits from there on
# Built by kind's authors for v0.33 (its release notes), the same minor version as our own.
# shellcheck disable=SC2034 # up.sh reads it
STOCK_NODE_IMAGE=kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d
# shellcheck disable=SC2034 # these three are build-binaries.sh's
GO_MINIMUM=1.21 GO_ADVISED=1.25.0 GO_IMAGE_TAG=1.25-bookworm

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CLIPMODEL_KIND_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/clipmodel-kind}
bin=$cache/bin
mkdir -p "$bin"
PATH=$bin:$PATH

export CLIPMODEL_KIND_START=${CLIPMODEL_KIND_START:-$(date +%s)} # of the first script, for those that it calls
step() { echo "[$(($(date +%s) - CLIPMODEL_KIND_START))s] ${0##*/}: $*" >&2; }
die() { echo "${0##*/}: $*" >&2; exit 1; }

# The node image's name is made of all that goes into it, so that it is built when something of that changes.
node_image() {
  (cd "$here" && find go node build-binaries.sh build-node-image.sh -type f -print0 | sort -z | xargs -0 sha256sum
    echo "$KUBERNETES_VERSION") | sha256sum | sed -E 's/^(.{12}).*/clipmodel-kind-node:\1/'
}

# Is Docker Hub there? Any answer will do (it is 401); five seconds, and no second try.
registry_reachable() {
  case ${CLIPMODEL_KIND_REGISTRY:-} in
    yes) return 0 ;;
    no) return 1 ;;
  esac
  local url=https://registry-1.docker.io/v2/
  if command -v curl >/dev/null; then
    curl --silent --output /dev/null --max-time 5 "$url"
  else
    timeout 5 python3 -c 'import sys, urllib.error, urllib.request
try: urllib.request.urlopen(sys.argv[1])
except urllib.error.HTTPError: pass' "$url" 2>/dev/null
  fi
}

# A kind that knows our node images, from the cache or PATH.
have_kind() {
  local minor
  minor=$(kind version 2>/dev/null | sed -nE 's/^kind v0\.([0-9]+)\..*/\1/p')
  [ -n "$minor" ] && [ "$minor" -ge "$KIND_MINOR" ]
}

# Only one script at a time makes what all clusters share (lock NAME); the next one finds it made. The lock is the open
# file: a child that outlives the script must not inherit it (9>&-).
lock() {
  command -v flock >/dev/null || return 0
  exec 9>"$cache/$1.lock"
  flock --nonblock 9 || { step "waiting for another run that makes the $1"; flock 9; }
}
unlock() { exec 9>&-; }
