#!/usr/bin/env bash
# Finds instances with several processes: one per GPU, or on the CPU where there is none.
#
#   tools/dist_detect.sh DETECTOR PROCESSES PHOTOS... --out instances.json [options of tools/detect_instances.py]
#
# Several machines that share a file system: the same command on each, with NNODES, its NODE_RANK (from 0) and the first
# one's MASTER_ADDR set; PORT (29500) has to be free there. One machine takes any free port. PYTHON names another
# interpreter than the one on the PATH.
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "error: usage: $0 DETECTOR PROCESSES PHOTOS... --out instances.json [options of tools/detect_instances.py]" >&2
  exit 2
fi
DETECTOR=$1
PROCESSES=$2
shift 2

TOOLS=$(dirname "${BASH_SOURCE[0]}")
source "$TOOLS/dist_launch.sh"
launch "$PROCESSES" "$TOOLS/detect_instances.py" "$DETECTOR" "$@" --launcher pytorch
