#!/bin/bash
# Makes .venv with everything in it: the locked requirements, the project itself (editable, so with the `clipmodel` command) and
# the uv that installs them. Does nothing when it was made of the same inputs.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv
inputs=(requirements/dev.txt requirements/build.txt hack/uv.txt hack/setup.sh pyproject.toml)

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }
fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

for input in "${inputs[@]}"; do
  [ -r "$input" ] || die "$input is missing: this checkout is not complete"
done
mkdir -p build
if command -v flock >/dev/null; then # two makes at once must not make it twice
  exec 9>build/setup.lock
  flock 9
fi
made_of=$(sha256sum "${inputs[@]}" | sha256sum | cut -d' ' -f1)
if [ -x $venv/bin/python ] && [ "$(cat $venv/.made 2>/dev/null)" = "$made_of" ]; then
  touch $venv/.made
  exit 0
fi

# As root on a Debian the missing package is installed, elsewhere it is named.
apt_install() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    return 1
  fi
  say "installing $*"
  apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

find_python() {
  local name
  for name in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$name" ] && fits "$name"; then
      command -v "$name"
      return
    fi
  done
  return 1
}

if [ ! -x $venv/bin/python ] || ! fits $venv/bin/python || ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
  rm -rf $venv
  python=$(find_python) || { apt_install python3 python3-venv && python=$(find_python); } ||
    die "Python 3.11 or newer is missing. Debian and Ubuntu: sudo apt-get install python3 python3-venv; or name one: make setup PYTHON=/path/to/python3"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv ||
    die "this Python cannot make virtual environments. Debian and Ubuntu: sudo apt-get install python3-venv"
  say "making $venv with $("$python" --version)"
  "$python" -m venv $venv
fi
rm -f $venv/.made
say "installing the locked requirements (the first time about 3 GB, most of it torch's CUDA libraries)"
[ -x $venv/bin/uv ] || $venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r hack/uv.txt
export VIRTUAL_ENV=$PWD/$venv
$venv/bin/uv pip sync --quiet --require-hashes requirements/dev.txt requirements/build.txt hack/uv.txt
$venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
echo "$made_of" >$venv/.made
say "$venv is ready: . $venv/bin/activate, then clipmodel --help"
