#!/usr/bin/env bash
# Trains with several processes: one per GPU, or on the CPU where there is none.
#
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
#
# Several machines: the same command on each, with NNODES, its NODE_RANK (from 0) and the first one's MASTER_ADDR set;
# PORT (29500) has to be free there. One machine takes any free port, so several runs go beside one another. PYTHON names
# another interpreter than the one on the PATH.
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "error: usage: $0 CONFIG GPUS [options of tools/train.py]" >&2
  exit 2
fi
CONFIG=$1
GPUS=$2
shift 2

TOOLS=$(dirname "${BASH_SOURCE[0]}")
source "$TOOLS/dist_launch.sh"
launch "$GPUS" "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
