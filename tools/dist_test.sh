#!/usr/bin/env bash
# Measures a checkpoint with several processes: one per GPU, or on the CPU where there is none.
#
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
#
# CHECKPOINT may be empty ("") for a baseline. Several machines: the same command on each, with NNODES, its NODE_RANK
# (from 0) and the first one's MASTER_ADDR set; PORT (29500) has to be free there. One machine takes any free port. PYTHON
# names another interpreter than the one on the PATH.
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "error: usage: $0 CONFIG CHECKPOINT PROCESSES [options of tools/test.py]" >&2
  exit 2
fi
CONFIG=$1
CHECKPOINT=$2
PROCESSES=$3
shift 3

TOOLS=$(dirname "${BASH_SOURCE[0]}")
source "$TOOLS/dist_launch.sh"
launch "$PROCESSES" "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "$@"
