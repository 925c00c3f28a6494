#!/usr/bin/env bash
# Measures a checkpoint with several processes: one per GPU, or on CPUs where there is no GPU.
# CHECKPOINT may be empty ("") for a baseline.
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of test.py]
# On several machines: NNODES of them, NODE_RANK of this one, MASTER_ADDR and PORT of the first one.
# PYTHON names another interpreter than the one on the PATH.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "error: usage: dist_test.sh CONFIG CHECKPOINT PROCESSES [options of test.py]" >&2
    exit 2
fi
config=$1
checkpoint=$2
processes=$3
shift 3

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$(dirname "${BASH_SOURCE[0]}")/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
