#!/usr/bin/env bash
# See `usage`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
SELF=tools/setup_env.sh

VENV=.venv
CORE=$VENV/core
CONSTRAINTS=requirements/constraints.txt
REQUIREMENTS=(runtime detectors metrics training zoo studio c2pa cluster tests lint docs)

usage() {
  cat <<END
Usage: $SELF [light|full|core]

Creates the virtual environment .venv/ of this checkout or completes it. Does nothing, at once, where it is up to date;
a run that was stopped is resumed by the next one.

  light   what colours photographs, and the studio: torch, MMEngine, mmcv-lite, FastAPI; no compiler is needed
  full    also training, tests and mmdet, with a compiled mmcv (the default)
  core    the full one, and .venv/core/ with numpy 2 and mmcv-lite, without mmdet
END
}

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# What an environment was made from; it also holds the place, because an editable install stays where it was made.
fingerprint() {
  { pwd; cat requirements/*.txt setup.cfg setup.py "$SELF"; } | sha256sum
}

# An environment says what it is in files of its own: `.light`, `.complete` (full) or, in the core's folder, `.complete`.
up_to_date() {
  [ -x "$1/bin/python" ] && [ "$(cat "$1/$2" 2>/dev/null)" = "$(fingerprint)" ] && "$1/bin/python" -c ''
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
  step 'compiling mmcv (6 minutes on two cores, unless pip has the wheel from an earlier time)'
  # Both have their modules in one folder.
  "$VENV/bin/python" -m pip uninstall -qq -y mmcv-lite
  local build=(--no-build-isolation --no-binary mmcv -r requirements/mim.txt)
  local -x MMCV_WITH_OPS=1 MAX_JOBS="${MAX_JOBS:-$(nproc)}" CFLAGS=-g0 CXXFLAGS=-g0
  pip_install "${build[@]}"
  mmcv_has_ops && return
  "$VENV/bin/python" -m pip cache remove mmcv >/dev/null 2>&1 || true
  pip_install --force-reinstall --no-deps --no-build-isolation --no-binary mmcv mmcv
  mmcv_has_ops || fail "mmcv was built without its ops; \"$VENV/bin/python -c 'import mmcv.ops'\" says why."
}

step() {
  printf '[%4ds] %s\n' "$SECONDS" "$*"
}

# Finds the Python that the environment has or will have; nothing is written yet.
choose_python() {
  if "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    supported_version "$VENV/bin/python" >/dev/null ||
      fail "$VENV holds another Python than 3.11 or 3.12; remove the folder and run the command again."
    echo "$VENV/bin/python"
  else
    find_python
  fi
}

create_venv() {
  local python=$1
  [ "$python" != "$VENV/bin/python" ] || return 0
  step "creating $VENV with $python"
  "$python" -m venv "$VENV" || fail "$python cannot create $VENV (Debian and Ubuntu need the package python3-venv)."
}

# Several wheels bring the same cv2, of one version. The last one wins; this one has all modules and needs no libGL.
install_cv2() {
  pip_install --force-reinstall --no-deps opencv-contrib-python-headless
}

install_ourselves() {
  step 'installing insta_colorization'
  pip_install --no-deps --no-build-isolation -e .
}

build_light() {
  local python
  python=$(choose_python)
  create_venv "$python"
  step 'installing torch (5 GB of disk)'
  pip_install torch 'setuptools<81' wheel
  step 'installing MMEngine, the studio and what reads photographs'
  # Where the completing of this environment was stopped, the compiled mmcv is there already.
  mmcv_has_ops || pip_install -r requirements/lite.txt
  pip_install mmengine -r requirements/runtime.txt -r requirements/studio.txt
  install_cv2
  install_ourselves
  fingerprint >"$VENV/.light"
  step "$VENV is ready for colouring; \"$SELF full\" completes it"
}

build_full() {
  local python files=("${REQUIREMENTS[@]/%/.txt}")
  python=$(choose_python)
  mmcv_has_ops || check_compiler "$python"
  create_venv "$python"
  rm -f "$VENV/.light"
  step 'installing torch (5 GB of disk)'
  pip_install -r requirements/build.txt
  step 'installing mmdet, MMagic and the tools'
  pip_install mmengine mmagic "${files[@]/#/-rrequirements/}"
  install_cv2
  install_mmcv
  install_ourselves
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

missing() {
  case $1 in
    light) ! up_to_date "$VENV" .complete && ! up_to_date "$VENV" .light ;;
    full) ! up_to_date "$VENV" .complete ;;
    core) ! up_to_date "$CORE" .complete || ! up_to_date "$VENV" .complete ;;
  esac
}

build() {
  case $1 in
    light) build_light ;;
    full) build_full ;;
    core)
      up_to_date "$VENV" .complete || build_full
      build_core
      ;;
  esac
}

level=${1:-full}
case $level in
  light | full | core) [ "$#" -le 1 ] || { usage >&2; fail "$SELF takes one word, but got $#: $*"; } ;;
  -h | --help)
    usage
    exit
    ;;
  *)
    usage >&2
    fail "The environment must be light, full or core, but got '$level'."
    ;;
esac
if missing "$level"; then
  mkdir -p "$VENV" 2>/dev/null && [ -w "$VENV" ] || fail "$PWD/$VENV cannot be written, so it cannot hold the environment."
  # A second command that is started meanwhile waits for the first one, and then finds its work done.
  if command -v flock >/dev/null; then
    exec 9>"$VENV/.lock"
    flock 9
  fi
  ! missing "$level" || build "$level"
fi
