#!/usr/bin/env bash
# The method from end to end on generated videos: data, four-stage pretraining, attentive probes, report.
# Does its own set-up, asks nothing. Arguments go to tools/demo.py, see ./demo.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Before the set-up: who asks for help does not want 7 GB.
help() {
    cat <<'TEXT'
usage: ./demo.sh [options]

Renders videos, pretrains a tiny encoder on them through all four stages, trains attentive probes on it
and on an untrained one, and writes report.html. Needs no GPU and no data.

The first run installs everything, about 7 GB, into the active virtual environment or else into .venv.
To use another Python: PYTHON=/path/to/python3 ./demo.sh

options:
  --seeds N [N ...]              one run for each (default: 0)
  --work-dir DIR                 logs and results (default: work_dirs/demo)
  --cfg-options KEY=VALUE [...]  override values of configs/nextvid/vit-tiny_demo.py; needs a
                                 --work-dir of its own once the default one holds a run
  --debug                        say where in the code an error arose
  -h, --help                     this text

An interrupted run goes on where it stopped. More, after the set-up: python tools/demo.py --help
TEXT
}
for word in "$@"; do
    case $word in -h | --help) help && exit ;; esac
done

source tools/setup_env.sh

exec "$PYTHON" tools/demo.py "$@"
