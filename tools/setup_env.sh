# shellcheck shell=bash
# Sourced by demo.sh and run_tests.sh from the repository's root. Leaves the Python to use in $PYTHON.
#
# An active virtual or conda environment is used as it is (conda's "base" does not count); otherwise
# .venv is created with the first Python >= 3.10 that works, or with the one $PYTHON names. What is
# installed is pinned by constraints.txt; pip's own settings (PIP_INDEX_URL, PIP_NO_CACHE_DIR, ...)
# hold. A stamp in the environment makes the second run instant.

EXTRAS='docs,lora,onnx,parquet,remote,siglip,tests,torchcodec'

say() { printf '\033[1m[setup]\033[0m %s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# Versioned names may be shims that refuse to run, and Debian's python3 may lack venv: try them.
is_usable() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.10 python3.13 python3 python; do
        if is_usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "no Python >= 3.10 with the venv module found. Install one (on Debian and Ubuntu:" \
        "apt install python3 python3-venv) or name it: PYTHON=/path/to/python3 $0"
}

select_environment() {
    if [[ -n ${VIRTUAL_ENV:-} ]]; then
        PYTHON=$VIRTUAL_ENV/bin/python
    elif [[ -n ${CONDA_PREFIX:-} && ${CONDA_DEFAULT_ENV:-} != base ]]; then
        PYTHON=$CONDA_PREFIX/bin/python
    else
        if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
            local base
            base=$(find_python)
            say "creating .venv with $base ($("$base" --version))"
            "$base" -m venv --clear .venv
        fi
        PYTHON=$PWD/.venv/bin/python
    fi
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "$PYTHON is too old, Python >= 3.10 is needed; deactivate the environment and try again"
}

# The state that asks for a new installation: what is installed, into what, from where.
fingerprint() {
    { cat setup.cfg pyproject.toml constraints.txt tools/setup_env.sh && "$PYTHON" -VV && pwd; } |
        "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

pip_install() {
    "$PYTHON" -m pip install --no-input --disable-pip-version-check -c constraints.txt "$@"
}

install_packages() {
    local stamp current mmcv=mmcv-lite
    stamp=$("$PYTHON" -c 'import sys; print(sys.prefix)')/.nextvid_mm-stamp
    current=$(fingerprint)
    if [[ -f $stamp && $(<"$stamp") == "$current" ]]; then
        return
    fi
    say "installing into ${stamp%/*}: about 7 GB with the CUDA libraries, once; safe to interrupt"
    say '1/3 build tools'
    pip_install --quiet setuptools
    say '2/3 PyTorch and the libraries'
    pip_install --no-build-isolation --no-warn-conflicts --editable ".[$EXTRAS]"
    say '3/3 the OpenMMLab packages'
    if "$PYTHON" -m pip show --quiet mmcv 2>/dev/null; then
        mmcv= # the full mmcv serves as well and owns the same files
    fi
    # Their requirements are in setup.cfg, with the one OpenCV build that runs everywhere.
    pip_install --no-deps mmengine $mmcv mmaction2 mmpretrain
    printf '%s' "$current" >"$stamp"
    say 'done'
}

select_environment
install_packages
export PYTHON PYTHONUNBUFFERED=1
