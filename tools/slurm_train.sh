#!/usr/bin/env bash
# Train under Slurm, one task per GPU.
#
#   GPUS=96 GPUS_PER_NODE=8 bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [flags ...]
#
# CPUS_PER_TASK sets the cores per process, SRUN_ARGS any further options of srun. With
# SRUN_ARGS='--signal=USR1@300' a run saves and ends five minutes before its time limit; start it again with
# --resume.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo 'usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [flags of tools/train.py ...]' >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
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
    "${PYTHON:-python}" -u "$TOOLS/train.py" "$CONFIG" --launcher slurm "${@:4}"
