#!/bin/bash
# A Docker daemon, when there is none: Debian's packages, dockerd started by hand (containers and small VMs have no systemd).
# Where "docker info" works, Docker is left alone.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

! docker info >/dev/null 2>&1 || exit 0
[ "$(id -u)" = 0 ] || die "this user has no Docker: \"docker info\" says why. Debian and Ubuntu:
  sudo apt-get install docker.io && sudo usermod --append --groups docker $(id -un)    then log in again
or run this as root, to have Docker installed and started."
if [ -d /run/systemd/system ] && command -v dockerd >/dev/null; then # installed and stopped: it is systemd's to start
  step "starting Docker"
  if systemctl start docker && docker info >/dev/null 2>&1; then exit 0; fi
fi
missing=()
for program in docker dockerd containerd runc iptables ip capsh; do
  command -v $program >/dev/null || missing+=("$program")
done
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || die "${missing[*]} not found, and no apt-get: install them by hand, then run this again"
  step "installing Debian packages: ${missing[*]} not found"
  apt-get update -qq >"$cache/apt.log" 2>&1 || die "apt-get update failed, see $cache/apt.log"
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    docker.io containerd runc iptables iproute2 libcap2-bin >>"$cache/apt.log" 2>&1 ||
    die "apt-get install failed, see $cache/apt.log"
  ! docker info >/dev/null 2>&1 || exit 0 # a machine with systemd has started it
fi

# Pods' and services' addresses must never leave the machine by its default route.
for range in 10.244.0.0/16 10.96.0.0/16; do
  ip route replace unreachable "$range" metric 4278198272
done

install -m 755 "$here/runc-capped" "$cache/runc-capped"
if [ -n "$("$cache/runc-capped" --lacking)" ]; then
  step "this machine lacks $("$cache/runc-capped" --lacking): containers run by runc-capped"
  echo "{\"runtimes\": {\"capped\": {\"path\": \"$cache/runc-capped\"}}, \"default-runtime\": \"capped\"}" >"$cache/daemon.json"
else
  echo '{}' >"$cache/daemon.json"
fi
# Bridges get 1500 by default: packets too long for this machine's own interface would be lost without a word.
device=$(ip route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p;q')
mtu=$(cat "/sys/class/net/$device/mtu" 2>/dev/null || echo 1500)
step "starting dockerd (log: $cache/dockerd.log)"
setsid nohup dockerd --config-file "$cache/daemon.json" --data-root "$cache/docker" --pidfile "$cache/dockerd.pid" \
  --storage-driver overlay2 --mtu "$mtu" --bip 172.30.0.1/24 --default-address-pool base=172.31.0.0/16,size=24 \
  --log-opt max-size=10m >"$cache/dockerd.log" 2>&1 </dev/null 9>&- & # 9: up.sh's lock, which dockerd must not keep
for _ in {1..120}; do
  if docker info >/dev/null 2>&1; then
    step "Docker is up"
    exit 0
  fi
  sleep .25
done
tail -n 20 "$cache/dockerd.log" >&2
die "dockerd did not come up in 30 s, its last words are above"
