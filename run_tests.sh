#!/usr/bin/env bash
# Every check there is: linter, formatter, types, tests. Does its own set-up, asks nothing.
# Arguments go to pytest, for example: ./run_tests.sh -k registry
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/setup_env.sh

# Two processes with one thread each: the tensors are small, and more threads only wait.
export OMP_NUM_THREADS=1

say 'ruff check'
"$PYTHON" -m ruff check .
say 'ruff format --check'
"$PYTHON" -m ruff format --check .
say 'mypy'
"$PYTHON" -m mypy
say 'pytest'
exec "$PYTHON" -m pytest -n 2 "$@"
