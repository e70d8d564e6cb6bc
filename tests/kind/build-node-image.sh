#!/bin/bash
# The node image that kind starts, with all images of the cluster inside. "packages" makes only its Debian layers, which
# take the mirror and not the processor: up.sh runs that while Go compiles.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

image=$(node_image)
kube_image=clipmodel.local/kube:$KUBERNETES_VERSION
export DOCKER_BUILDKIT=0 # Debian's Docker has no buildx
build() { # STAGE ARGUMENTS...: apt in the build uses the host's network, which has a resolver and the right MTU
  local stage=$1
  shift
  "${context[@]}" | docker build --network host --target "$stage" "$@" - >"$cache/build-$stage.log" 2>&1 ||
    { tail -n 20 "$cache/build-$stage.log" >&2; die "building $stage failed, see $cache/build-$stage.log"; }
}

if [ "${1:-}" = packages ]; then
  step "Debian layers"
  context=(tar -c -C "$here/node" .)
  build node-packages
  step "Debian layers are made"
  exit 0
fi

context=(tar -c -C "$here/node" . -C "$cache" bin/coredns bin/etcd bin/kube bin/node-gate bin/pause)
step "the cluster's images"
build pause -t clipmodel.local/pause:build
build coredns -t clipmodel.local/coredns:build
build kube -t "$kube_image"
tags=("$kube_image")
while read -r name; do
  case $name in
    */pause:*) source=clipmodel.local/pause:build pause_image=$name ;;
    */coredns:*) source=clipmodel.local/coredns:build ;;
    *) source=$kube_image ;;
  esac
  docker tag "$source" "$name"
  tags+=("$name")
done < <(kubeadm config images list --kubernetes-version "$KUBERNETES_VERSION")
[ -n "${pause_image:-}" ] || die "kubeadm lists no pause image"

step "the node's files"
build node -t clipmodel-kind-node:files --build-arg "KUBERNETES_VERSION=$KUBERNETES_VERSION" \
  --build-arg "KUBE_IMAGE=$kube_image" --build-arg "PAUSE_IMAGE=$pause_image"

# containerd's store is filled by containerd: it runs once in a container that is then committed (a Dockerfile would keep
# the archive in a layer). Nothing is unpacked, for that takes mounts: the first use does.
step "the cluster's images into the node image"
container=$(docker create -i --network none --entrypoint bash clipmodel-kind-node:files -euc '
  containerd >/dev/null 2>&1 & daemon=$!
  for _ in {1..100}; do ! ctr version >/dev/null 2>&1 || break; sleep .1; done
  ctr -n k8s.io images import --all-platforms --no-unpack - >/dev/null
  kill $daemon; wait $daemon || true')
trap 'docker rm -f "$container" >/dev/null' EXIT
docker save "${tags[@]}" | docker start -ai "$container" || die "importing the images failed"
docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint"]' --change 'CMD []' "$container" "$image" >/dev/null
step "$image is made, $(docker image inspect --format '{{.Size}}' "$image" | numfmt --to=si)B"
