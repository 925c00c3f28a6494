# Starts processes of a Python script, for the other dist_*.sh, which source this: launch PROCESSES SCRIPT ARGUMENTS...
#
# NNODES, NODE_RANK, MASTER_ADDR and PORT are those of several machines. A machine by itself takes a port that is free, so
# that several runs find room on it; PORT names one all the same. PYTHON names another interpreter than that on the PATH.

launch() {
  local python=${PYTHON:-python} nodes=${NNODES:-1} rank=${NODE_RANK:-0} port=${PORT:-}
  if [ -z "$port" ] && [ "$nodes" != 1 ]; then
    port=29500
  fi
  if [ "$rank" = 0 ]; then
    # Prints the port, or one that is free where none was named.
    port=$("$python" -c '
import socket, sys
with socket.socket() as taken:
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(("", int(sys.argv[1] or 0)))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"error: PORT {sys.argv[1]} cannot be used ({error}); another one can be named, or none on one machine")
    print(taken.getsockname()[1])
' "$port") || exit 1
  fi
  exec "$python" -m torch.distributed.run --nnodes="$nodes" --node_rank="$rank" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$port" --nproc_per_node="$@"
}
