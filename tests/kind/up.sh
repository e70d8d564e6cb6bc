#!/bin/bash
# up.sh [--export] [NAME] [WORKERS] [FILE]: a kind cluster and everything it needs, from an empty machine or in seconds when
# it is there. The path of the cluster's own kubeconfig is the only thing on standard output.
#   --export  the context kind-NAME goes into the user's kubeconfig too, as kind itself does it
#   NAME      clipmodel, unless said otherwise
#   WORKERS   nodes besides the control plane: 0
#   FILE      a piece of kind configuration (networking:, kubeadmConfigPatches: ...), appended; if it has nodes: these count.
#             @FILES@ in it stands for a folder with copies of the *.yaml files beside FILE
# KIND_NODE_IMAGE=image uses that node image (pulled by Docker). Without it: the stock one where a registry can be reached,
# else our own, built here. CLIPMODEL_KIND_REGISTRY=yes|no spares the question whether one can.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

export_too=
if [ "${1:-}" = --export ]; then export_too=yes; shift; fi
name=${1:-clipmodel} workers=${2:-0} extra=${3:-}
user_kubeconfig=${KUBECONFIG:-}
export KUBECONFIG=$cache/$name.kubeconfig # never the user's: its current context would change in the middle of other work
[[ $name =~ ^[a-z0-9][a-z0-9-]*$ ]] || die "NAME is lower-case letters, digits and dashes, not \"$name\""
[[ $workers =~ ^[0-9]+$ ]] || die "WORKERS is a number, not \"$workers\": up.sh [--export] [NAME] [WORKERS] [FILE]"
[ -z "$extra" ] || [ -r "$extra" ] || die "cannot read $extra"
node=$name-control-plane
kubectl_in_node() { docker exec "$node" kubectl --kubeconfig /etc/kubernetes/admin.conf "$@"; }

# CONDITION_COMMAND every half second until it succeeds or SECONDS are over.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep .5
  done
}

ensure_kind() {
  have_kind || "$here/build-binaries.sh" kind
  have_kind || die "kind v0.$KIND_MINOR or newer is needed, found: $(kind version 2>&1)"
}

# Sets image to one that is on this machine.
ensure_node_image() {
  if [ -n "${KIND_NODE_IMAGE:-}" ]; then
    image=$KIND_NODE_IMAGE
    docker image inspect "$image" >/dev/null 2>&1 || docker pull "$image" >&2 || die "cannot pull KIND_NODE_IMAGE=$image"
    return
  fi
  image=$STOCK_NODE_IMAGE
  ! docker image inspect "$image" >/dev/null 2>&1 || return 0
  image=$(node_image)
  ! docker image inspect "$image" >/dev/null 2>&1 || return 0
  if registry_reachable; then
    step "pulling $STOCK_NODE_IMAGE"
    if docker pull --quiet "$STOCK_NODE_IMAGE" >&2; then
      image=$STOCK_NODE_IMAGE
      return
    fi
    step "that failed: the node image is built here instead"
  else
    step "no container registry can be reached: the node image is built here (9 min the first time, 40 s after a change)"
  fi
  # the compiler wants the processor and the packages want the network: both at once
  "$here/build-binaries.sh" &
  local binaries=$!
  if ! "$here/build-base.sh" || ! "$here/build-node-image.sh" packages; then
    kill $binaries
    exit 1
  fi
  wait $binaries || exit 1
  "$here/build-node-image.sh"
}

cluster_configuration() {
  printf 'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n'
  if [ -z "$extra" ] || ! grep -q '^nodes:' "$extra"; then
    printf 'nodes:\n- role: control-plane\n'
    for ((i = 0; i < workers; i++)); do printf -- '- role: worker\n'; done
  fi
  [ -n "$extra" ] || return 0
  if grep -q @FILES@ "$extra"; then # nodes mount these files as long as they live: copies, for a checkout may go away
    mkdir -p "$cache/$name.files"
    cp "$(dirname "$extra")"/*.yaml "$cache/$name.files/"
  fi
  sed "s|@FILES@|$cache/$name.files|g" "$extra"
}

create() {
  step "creating cluster $name of $image"
  touch "$cache/$name.creating" # stays when this is killed on the way: the next run then starts over
  cluster_configuration | kind create cluster --name "$name" --image "$image" --config - --wait 180s >"$cache/$name.create.log" 2>&1 || {
    tail -n 40 "$cache/$name.create.log" >&2
    die "kind failed, its last words are above; \"kind create cluster --retain -v 3 --image $image\" leaves the node for a look"
  }
  rm "$cache/$name.creating"
}

# Starts what is stopped, and checks that the cluster is the one asked for.
revive() {
  local of_cluster=(--quiet --filter "label=io.x-k8s.kind.cluster=$name") stopped=() have
  while read -r id; do stopped+=("$id"); done < <(docker ps --all "${of_cluster[@]}" --filter status=exited --filter status=created)
  if [ ${#stopped[@]} -gt 0 ]; then
    step "starting $name's ${#stopped[@]} stopped node(s)"
    docker start "${stopped[@]}" >/dev/null
  fi
  have=$(docker ps "${of_cluster[@]}" --filter label=io.x-k8s.kind.role=worker | wc -l)
  [ -n "$extra" ] || [ $# -lt 2 ] || [ "$have" = "$workers" ] || die "$name has $have workers, not $workers: down.sh $name first"
  case $(docker inspect --format '{{.Config.Image}}' "$node") in
    "${KIND_NODE_IMAGE:-$(node_image)}" | "$STOCK_NODE_IMAGE") ;;
    *) step "$name has another node image than a new cluster would have: down.sh $name, then up.sh again, for that" ;;
  esac
  kind export kubeconfig --name "$name" >/dev/null 2>&1 || die "kind cannot give $name's kubeconfig"
}

# True when kubelet has reported every pod of kube-system since the nodes last started. Until then the API server shows
# everything as it was before a stop, ready as ever: a container that runs now was started after its node.
# Times are all UTC in ISO 8601, so that text order is their order.
seen_since_start() {
  local since containers
  since=$(docker ps --quiet --filter "label=io.x-k8s.kind.cluster=$name" | xargs docker inspect --format '{{.State.StartedAt}}' | sort | tail -n 1)
  containers=$(kubectl_in_node -n kube-system get pods -o \
    'jsonpath={range .items[*].status.containerStatuses[*]}{.state.running.startedAt}{"\n"}{end}' 2>/dev/null) || return 1
  [ -n "$containers" ] || return 1
  ! awk -v since="${since%%.*}" '$1 == "" || $1 "" < since "" { old = 1 } END { exit !old }' <<<"$containers"
}

ready() {
  step "waiting for nodes, DNS, network and storage"
  wait_until 120 kubectl_in_node get --raw /readyz >/dev/null 2>&1 || die "the API server of $name does not answer: docker logs $node"
  wait_until 180 seen_since_start || die "kubelet has not started every pod of kube-system again: kubectl -n kube-system get pods"
  # kind's own --wait looks at control planes only
  kubectl_in_node wait --for=condition=Ready node --all --timeout=180s >/dev/null || die "a node is not ready: kubectl describe node"
  local what
  for what in daemonset deployment; do
    kubectl_in_node -n kube-system rollout status $what --timeout=180s >/dev/null || die "a $what is not ready: kubectl -n kube-system get pods"
  done
  kubectl_in_node -n kube-system wait --for=condition=Ready pod --all --timeout=180s >/dev/null ||
    die "a pod is not ready: kubectl -n kube-system get pods"
  kubectl_in_node get storageclass standard >/dev/null || die "there is no StorageClass \"standard\""
}

# A kubectl for this machine, at most one minor version away from the cluster; the stock image has the very one.
ensure_kubectl() {
  local server client
  server=$(kubectl_in_node version -o yaml | sed -n '/serverVersion/,$s/ *minor: "\([0-9]*\).*/\1/p')
  client=$(kubectl version --client -o yaml 2>/dev/null | sed -n 's/ *minor: "\([0-9]*\).*/\1/p' || true)
  [ -z "$client" ] || [ $((server - client)) -gt 1 ] || [ $((client - server)) -gt 1 ] || return 0
  [ "$(uname -s)" = Linux ] || die "kubectl 1.$server is needed: https://kubernetes.io/docs/tasks/tools/"
  step "taking kubectl out of the node"
  docker cp --follow-link "$node:$(docker exec "$node" sh -c 'readlink -f "$(command -v kubectl)"')" "$bin/kubectl.new" >/dev/null
  mv "$bin/kubectl.new" "$bin/kubectl"
}

lock "node image"
"$here/setup-docker.sh"
ensure_kind
if [ -e "$cache/$name.creating" ]; then
  step "cluster $name was never finished: starting over"
  kind delete cluster --name "$name" >/dev/null 2>&1
fi
if docker container inspect "$node" >/dev/null 2>&1; then
  unlock
  revive "$@"
else
  ensure_node_image
  unlock
  create
fi
ready
ensure_kubectl
if [ -n "$export_too" ]; then
  KUBECONFIG=$user_kubeconfig kind export kubeconfig --name "$name" >/dev/null 2>&1 || die "kind cannot write to the kubeconfig ${user_kubeconfig:-$HOME/.kube/config}"
fi
step "cluster $name is ready; kubectl is $(command -v kubectl); export KUBECONFIG=$KUBECONFIG"
echo "$KUBECONFIG"
