#!/usr/bin/env bash
# Train under Slurm, one task per GPU.
#
#   GPUS=96 GPUS_PER_NODE=8 bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [flags ...]
#
# CPUS_PER_TASK sets the cores per process, SRUN_ARGS any further options of srun, MAX_RESTARTS (3) how
# often a run that fails is started again. With
# SRUN_ARGS='--signal=USR1@300' a run saves and ends five minutes before its time limit; a batch job then goes
# back into the queue by itself.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo 'usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [flags of tools/train.py ...]' >&2
    exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/slurm_launch.sh"

launch "$1" "$2" train.py "$3" --launcher slurm "${@:4}"
