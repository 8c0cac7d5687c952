#!/usr/bin/env bash
# Train with several processes per machine, on one or more machines.
#
#   bash tools/dist_train.sh CONFIG GPUS [flags of tools/train.py ...]
#
# Two machines with eight GPUs each, run on both (NODE_RANK=0 on the first, 1 on the second):
#
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 PORT=29500 bash tools/dist_train.sh CONFIG 8
#
# When a process dies, all are started again and go on from the last save, MAX_RESTARTS times (3).
# Without a GPU the processes use gloo on the CPU.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo 'usage: bash tools/dist_train.sh CONFIG GPUS [flags of tools/train.py ...]' >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
TOOLS=$(cd "$(dirname "$0")" && pwd)
PYTHON=${PYTHON:-python}
NODE_RANK=${NODE_RANK:-0}
MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}
PORT=${PORT:-29500}
export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"

if ! [[ $GPUS =~ ^[1-9][0-9]*$ ]]; then
    echo "dist_train: error: GPUS=$GPUS must be a number of processes of at least 1" >&2
    exit 2
fi
# A mistake is told once, not by every process of every attempt.
"$PYTHON" "$TOOLS/train.py" "$CONFIG" --launcher pytorch "${@:3}" --check >/dev/null

MEETING=(--rdzv_backend=c10d --rdzv_endpoint="$MASTER_ADDR:$PORT" --rdzv_id="$MASTER_ADDR:$PORT")
if [ "$NODE_RANK" = 0 ]; then
    MEETING+=(--rdzv_conf=is_host=1 --local_addr="$MASTER_ADDR")
else
    MEETING+=(--rdzv_conf=is_host=0)
fi
if [ "${NNODES:-1}" = 1 ]; then
    MEETING=(--master_addr="$MASTER_ADDR" --master_port="$PORT")
fi
exec "$PYTHON" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" "${MEETING[@]}" --max-restarts="${MAX_RESTARTS:-3}" \
    --nproc_per_node="$GPUS" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "${@:3}"
