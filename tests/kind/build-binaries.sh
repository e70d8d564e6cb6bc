#!/bin/bash
# kind, Kubernetes, etcd, CoreDNS, pause and the CNI gate out of Go modules, at the versions of go/go.mod, into the cache's bin/.
# With an argument only that one (kind is all that a stock node image needs). Go's own cache makes a second run short.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
only=${1:-}

# Go 1.21 and newer fetch the newer Go that go.mod asks for by themselves.
go_fits() { [ "$(printf '%s\n' "go$GO_MINIMUM" "$(go env GOVERSION 2>/dev/null)" | sort -V | head -n 1)" = "go$GO_MINIMUM" ]; }
go_fits || PATH=$PATH:/usr/local/go/bin # where its archive goes; not always in PATH
export GOTOOLCHAIN=${GOTOOLCHAIN:-auto} CGO_ENABLED=0
# -trimpath everywhere: a build without it compiles everything a second time. -modcacherw: the cache can be deleted.
export GOFLAGS="-trimpath -buildvcs=false -modcacherw -mod=readonly"

if ! go_fits; then
  if [ "$only" = kind ] && registry_reachable && docker info >/dev/null 2>&1; then
    step "building kind in a container, for there is no Go here"
    docker run --rm --user "$(id -u):$(id -g)" --volume "$here/go:/src:ro" --volume "$bin:/out" --workdir /src \
      --env HOME=/tmp --env GOPATH=/tmp/go --env GOTOOLCHAIN=auto --env CGO_ENABLED=0 --env "GOFLAGS=$GOFLAGS" \
      --env "GOOS=$(uname -s | tr '[:upper:]' '[:lower:]')" "golang:$GO_IMAGE_TAG" go build -ldflags '-s -w' -o /out/kind sigs.k8s.io/kind >&2 ||
      die "that failed; install kind v0.$KIND_MINOR instead: https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
    exit 0
  fi
  wanted=${only:-"the node image"}
  die "Go $GO_MINIMUM or newer is needed to build $wanted, found: $(go version 2>/dev/null || echo none)
Get it, as root:  curl --location https://go.dev/dl/go$GO_ADVISED.linux-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/').tar.gz | tar -C /usr/local -xz
and run this again (/usr/local/go/bin is found without being in PATH)."
fi
export GOMODCACHE=$cache/gomod GOCACHE=$cache/gocache

# "kubectl version", kubeadm's image tags and the API server's compatibility checks need the version.
version=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  version+=" -X $package.gitVersion=$KUBERNETES_VERSION -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES_VERSION")"
done
cd "$here/go"
build() { # NAME PACKAGE
  [ "${only:-$1}" = "$1" ] || return 0
  step "building $1"
  go build -tags osusergo,netgo -ldflags "-s -w$version" -o "$bin/$1.new" "$2" || die "building $1 failed"
  mv "$bin/$1.new" "$bin/$1" # a run that uses the old one goes on using it
}
build kind sigs.k8s.io/kind
build pause ./pause
build node-gate ./gate
build kube .
build etcd go.etcd.io/etcd/server/v3
build coredns ./coredns
if [ -z "$only" ]; then
  ln -sf kube "$bin/kubeadm" # kubectl too, for this machine
  ln -sf kube "$bin/kubectl"
fi
step "binaries are in $bin"
