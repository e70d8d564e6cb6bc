#!/bin/bash
# down.sh [NAME] [--docker]: deletes the cluster; with --docker also stops the daemon that setup-docker.sh started.
# The caches and images stay; delete the cache folder for a start from nothing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

name=${1:-clipmodel}
if docker info >/dev/null 2>&1 && have_kind; then
  # without KUBECONFIG of our own: kind also takes its context out of the user's kubeconfig, where up.sh --export put it
  kind delete cluster --name "$name" >&2
elif ! docker info >/dev/null 2>&1 && [ -e "$cache/$name.kubeconfig" ]; then
  die "Docker is not running, so cluster $name cannot be deleted: start Docker, then run this again"
fi
rm -rf "$cache/$name.kubeconfig" "$cache/$name.files" "$cache/$name.create.log" "$cache/$name.creating"
if [ "${2:-}" = --docker ]; then
  [ -f "$cache/dockerd.pid" ] || die "no dockerd was started from here"
  kill "$(cat "$cache/dockerd.pid")"
fi
