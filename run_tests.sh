#!/usr/bin/env bash
# Every check there is: linter, formatter, types, tests. Does its own set-up, asks nothing.
# Arguments go to pytest, for example: ./run_tests.sh -k registry
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Before the set-up: who asks for help does not want 7 GB.
help() {
    cat <<'TEXT'
usage: ./run_tests.sh [options of pytest]

Runs linter, formatter, type checker and all tests, and ends at the first that fails.

The first run installs everything, about 7 GB, into the active virtual environment or else into .venv.
To use another Python: PYTHON=/path/to/python3 ./run_tests.sh

examples:
  ./run_tests.sh -k registry      only tests whose names hold this word
  ./run_tests.sh -m 'not slow'    without the slow ones
  ./run_tests.sh --lf             those that failed last time

All options, after the set-up: python -m pytest --help
TEXT
}
for word in "$@"; do
    case $word in -h | --help) help && exit ;; esac
done

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
