#!/bin/sh
# Makes every lock in this folder again: with hashes, for all platforms, and without addresses or paths of the machine that ran it.
#   requirements/lock.sh [uv pip compile options]     e.g. --upgrade, or --upgrade-package urllib3
# Without options what is locked stays as it is, and only what pyproject.toml asks for anew is added. Needs uv (UV=/path/to/uv).
set -eu
cd "$(dirname "$0")/.."
UV=${UV:-uv}

lock() { # NAME, what goes in, options of our own
  name=$1
  shift
  echo "requirements/$name.txt" >&2
  "$UV" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "requirements/lock.sh" \
    --output-file "requirements/$name.txt" "$@" >/dev/null
}

lock dev pyproject.toml --extra client --extra sync --extra export --group dev "$@"
lock build requirements/build.in "$@"
# The images take the versions that the tests ran with.
lock operator pyproject.toml --constraints requirements/dev.txt "$@"
lock sync requirements/sync.in --constraints requirements/dev.txt "$@"
# Triton 2.51's stub is built for numpy 1, so this one goes its own way. uv.toml says why it lists no dependencies of nvidia-pytriton.
lock triton-light requirements/triton-light.in --config-file requirements/triton-light.uv.toml "$@"
