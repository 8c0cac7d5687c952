#!/usr/bin/env bash
# Test under Slurm, one task per GPU.
#
#   GPUS=8 GPUS_PER_NODE=8 bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [flags ...]
#
# CPUS_PER_TASK and SRUN_ARGS as for tools/slurm_train.sh.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo 'usage: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT' \
        '[flags of tools/test.py ...]' >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
CHECKPOINT=$4
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
TOOLS=$(cd "$(dirname "$0")" && pwd)
export MASTER_PORT=${MASTER_PORT:-$((12000 + RANDOM % 20000))}

# SRUN_ARGS holds several words.
# shellcheck disable=SC2086
PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" \
exec srun -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    --gres="gpu:$GPUS_PER_NODE" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher slurm "${@:5}"
