# shellcheck shell=bash
# Sourced by slurm_train.sh and slurm_test.sh: starts a tool with one task per GPU.
#
#   launch PARTITION JOB_NAME TOOL [arguments of the tool ...]
launch() {
    local tools
    tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    local gpus_per_node=${GPUS_PER_NODE:-8}
    export MASTER_PORT=${MASTER_PORT:-$((12000 + RANDOM % 20000))}
    export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"

    # SRUN_ARGS holds several words.
    # shellcheck disable=SC2086
    exec srun -p "$1" \
        --job-name="$2" \
        --gres="gpu:$gpus_per_node" \
        --ntasks="${GPUS:-8}" \
        --ntasks-per-node="$gpus_per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "$tools/$3" "${@:4}"
}
