#!/usr/bin/env bash
# Creates .venv/ or completes it. Does nothing, at once, when it is up to date; a run that was stopped is resumed by
# the next one.
#
#   tools/setup_env.sh         the full environment
#   tools/setup_env.sh core    also .venv/core/: numpy 2 and mmcv-lite, without mmdet or a compiled mmcv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
SELF=tools/setup_env.sh

VENV=.venv
CORE=$VENV/core
CONSTRAINTS=requirements/constraints.txt
REQUIREMENTS=(runtime detectors metrics training zoo tests lint docs)

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# What the environment was made from; it also holds the place, because an editable install stays where it was made.
fingerprint() {
  { pwd; cat requirements/*.txt setup.cfg setup.py "$SELF"; } | sha256sum
}

up_to_date() {
  [ -x "$1/bin/python" ] && [ "$(cat "$1/.complete" 2>/dev/null)" = "$(fingerprint)" ] && "$1/bin/python" -c ''
}

supported_version() {
  "$1" -c 'import sys; v = "%d.%d" % sys.version_info[:2]; print(v); sys.exit(v not in ("3.11", "3.12"))' 2>/dev/null
}

find_python() {
  local candidate version seen=
  for candidate in python3.11 python3.12 python3 python; do
    if version=$(supported_version "$candidate"); then
      command -v "$candidate"
      return
    fi
    [ -z "$version" ] || seen+="${seen:+, }$candidate is $version"
  done
  fail "Python 3.11 or 3.12 is needed; found among python3.11, python3.12, python3 and python: ${seen:-none}."
}

check_compiler() {
  local python=$1 headers
  command -v gcc >/dev/null && command -v g++ >/dev/null ||
    fail 'gcc and g++ are needed to compile mmcv, but they are not on the PATH.'
  headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -f "$headers/Python.h" ] ||
    fail "The headers of Python are needed to compile mmcv, but $headers/Python.h does not exist (python3-dev)."
}

pip_install() {
  "$VENV/bin/python" -m pip install -qq --disable-pip-version-check -c "$CONSTRAINTS" "$@"
}

mmcv_has_ops() {
  "$VENV/bin/python" -c 'import mmcv.ops' >/dev/null 2>&1
}

# Isolation would hide torch from mmcv's setup, which then leaves its compiled ops out without a word. The wheel stays
# in pip's cache; one that was left there by an isolated build or by another torch does not import, and is rebuilt.
install_mmcv() {
  mmcv_has_ops && return
  check_compiler "$VENV/bin/python"
  step 'compiling mmcv (6 minutes on two cores, unless pip has the wheel from an earlier time)'
  local build=(--no-build-isolation --no-binary mmcv -r requirements/mim.txt)
  local -x MMCV_WITH_OPS=1 MAX_JOBS="${MAX_JOBS:-$(nproc)}" CFLAGS=-g0 CXXFLAGS=-g0
  pip_install "${build[@]}"
  mmcv_has_ops && return
  "$VENV/bin/python" -m pip cache remove mmcv >/dev/null 2>&1 || true
  pip_install --force-reinstall --no-deps "${build[@]}"
  mmcv_has_ops || fail "mmcv was built without its ops; \"$VENV/bin/python -c 'import mmcv.ops'\" says why."
}

step() {
  printf '[%4ds] %s\n' "$SECONDS" "$*"
}

create_venv() {
  local python
  if "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    supported_version "$VENV/bin/python" >/dev/null ||
      fail "$VENV holds another Python than 3.11 or 3.12; remove the folder and run the command again."
    return
  fi
  python=$(find_python)
  check_compiler "$python"
  step "creating $VENV with $python"
  "$python" -m venv "$VENV" || fail "$python cannot create $VENV (Debian and Ubuntu need the package python3-venv)."
}

build_full() {
  local files=("${REQUIREMENTS[@]/%/.txt}")
  create_venv
  step 'installing torch (5 GB of disk)'
  pip_install -r requirements/build.txt
  step 'installing mmdet, MMagic and the tools'
  pip_install "${files[@]/#/-rrequirements/}"
  # Four wheels bring the same cv2, of one version. The last one wins; this one has all modules and needs no libGL.
  pip_install --force-reinstall --no-deps opencv-contrib-python-headless
  install_mmcv
  step 'installing insta_colorization'
  pip_install --no-deps --no-build-isolation -e .
  fingerprint >"$VENV/.complete"
  step "$VENV is ready"
}

# torch is taken from the full environment by links to its own folders and to those of what it imports: nothing else of
# that environment can be imported from this one.
build_core() {
  local from to name
  step "creating $CORE"
  rm -rf "$CORE"
  "$VENV/bin/python" -m venv --without-pip "$CORE"
  from=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  to=$("$CORE/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  for name in torch torch-*.dist-info torchgen functorch nvidia triton cuda \
    filelock fsspec jinja2 markupsafe mpmath networkx sympy typing_extensions.py; do
    ln -s "$from"/$name "$to/"
  done
  "$VENV/bin/python" -m pip --python "$CORE/bin/python" install -qq --disable-pip-version-check --no-deps \
    -r requirements/core.txt
  echo "$PWD/projects" >"$to/insta_colorization.pth"
  fingerprint >"$CORE/.complete"
  step "$CORE is ready"
}

# A second command that is started meanwhile waits for the first one.
if command -v flock >/dev/null && ! up_to_date "$VENV"; then
  mkdir -p "$VENV"
  exec 9>"$VENV/.lock"
  flock 9
fi
up_to_date "$VENV" || build_full
if [ "${1:-}" = core ]; then
  up_to_date "$CORE" || build_core
fi
