#!/usr/bin/env bash
# The method from end to end on generated videos: data, four-stage pretraining, attentive probes, report.
# Does its own set-up, asks nothing. Arguments go to tools/demo.py, see ./demo.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/setup_env.sh

exec "$PYTHON" tools/demo.py "$@"
