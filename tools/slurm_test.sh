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
source "$(dirname "${BASH_SOURCE[0]}")/slurm_launch.sh"

launch "$1" "$2" test.py "$3" "$4" --launcher slurm "${@:5}"
