# shellcheck shell=bash
# Sourced by slurm_train.sh and slurm_test.sh: starts a tool with one task per GPU.
#
#   launch PARTITION JOB_NAME TOOL [arguments of the tool ...]
#
# A tool that fails after more than two minutes (a lost machine, a hang) is started again,
# MAX_RESTARTS times (3). One that was stopped by a signal and has saved (exit code 143) is put back
# into the queue if this is a batch job; REQUEUE=0 prevents that.
launch() {
    local tools start code=0 attempt=0
    tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    local gpus_per_node=${GPUS_PER_NODE:-8}
    if ! command -v srun >/dev/null; then
        echo 'error: there is no srun here, so this is no machine of a Slurm cluster; without' \
            'Slurm, use tools/dist_train.sh or tools/dist_test.sh' >&2
        exit 1
    fi
    export MASTER_PORT=${MASTER_PORT:-$((12000 + RANDOM % 20000))}
    export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"

    while true; do
        start=$SECONDS
        code=0
        # SRUN_ARGS holds several words.
        # shellcheck disable=SC2086
        NEXTVID_RESTART_COUNT=$attempt srun -p "$1" \
            --job-name="$2" \
            --gres="gpu:$gpus_per_node" \
            --ntasks="${GPUS:-8}" \
            --ntasks-per-node="$gpus_per_node" \
            --cpus-per-task="${CPUS_PER_TASK:-5}" \
            --kill-on-bad-exit=1 \
            ${SRUN_ARGS:-} \
            "${PYTHON:-python}" -u "$tools/$3" "${@:4}" || code=$?
        case $code in
            0 | 2 | 130) exit "$code" ;;
            143)
                if [ -n "${SLURM_JOB_ID:-}" ] && [ "${REQUEUE:-1}" != 0 ]; then
                    echo "stopped and saved: job $SLURM_JOB_ID goes back into the queue" >&2
                    scontrol requeue "$SLURM_JOB_ID" || true
                fi
                exit 143
                ;;
        esac
        if [ "$attempt" -ge "${MAX_RESTARTS:-3}" ] || [ $((SECONDS - start)) -lt "${FAST_SECONDS:-120}" ]; then
            exit "$code"
        fi
        attempt=$((attempt + 1))
        echo "failed with $code: attempt $((attempt + 1)), from the last save" >&2
    done
}
