#!/bin/bash
# debian:bookworm-slim, which all images stand on: pulled where a registry can be reached, else made out of this machine's Debian mirror.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

! docker image inspect debian:bookworm-slim >/dev/null 2>&1 || exit 0
if registry_reachable; then
  step "pulling debian:bookworm-slim"
  ! docker pull --quiet debian:bookworm-slim >&2 || exit 0
fi
grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release ||
  die "no container registry can be reached, and this is not Debian bookworm: docker load a debian:bookworm-slim, or set KIND_NODE_IMAGE to a node image that Docker can pull"
if ! command -v mmdebstrap >/dev/null; then
  [ "$(id -u)" = 0 ] || die "mmdebstrap is missing: sudo apt-get install mmdebstrap"
  step "installing mmdebstrap"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends mmdebstrap; } >"$cache/apt.log" 2>&1 ||
    die "apt-get install mmdebstrap failed, see $cache/apt.log"
fi
[ "$(id -u)" = 0 ] || die "making debian:bookworm-slim takes root: sudo $0"
sources=/etc/apt/sources.list.d/debian.sources
[ -f $sources ] || sources=/etc/apt/sources.list
step "making debian:bookworm-slim"
# It keeps this machine's sources and certificates: images built on it reach the mirror in the same way.
# shellcheck disable=SC2016 # $1 is for the hooks' shell
mmdebstrap --quiet --variant=minbase --mode=root --include=ca-certificates \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --customize-hook='rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*' \
  --customize-hook="copy-in $sources ${sources%/*}" \
  --customize-hook='upload /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt' \
  --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin' \
  bookworm - $sources 2>"$cache/mmdebstrap.log" |
  docker import --change 'CMD ["bash"]' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - debian:bookworm-slim >/dev/null ||
  { tail -n 20 "$cache/mmdebstrap.log" >&2; die "mmdebstrap failed, see $cache/mmdebstrap.log"; }
step "debian:bookworm-slim is made"
