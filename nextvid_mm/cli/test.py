"""Evaluate a trained probe, or train one on an encoder and evaluate it."""

from __future__ import annotations

import argparse

from nextvid_mm.cli.flags import add_launcher, add_shared

EPILOG = """\
examples:
  python tools/test.py configs/probe/ssv2.py PRETRAINED.pth                     # whole protocol
  python tools/test.py configs/probe/ssv2.py work_dirs/ssv2/probe.pth           # a trained probe
  python tools/test.py CONFIG OTHER.pth --work-dir work_dirs/other/ssv2
  python tools/test.py CONFIG PRETRAINED.pth --cache-features                   # encode once
  python tools/test.py --from-json work_dirs/ssv2/probe_results.json            # repeat exactly
  bash tools/dist_test.sh CONFIG CHECKPOINT 8                                   # eight processes

The work directory then holds probe_results.json (all numbers, and what is needed to repeat them)
and confusion.png; docs/evaluate.md explains both. Other MMEngine configs are tested as MMAction2's
tool does.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add MMAction2's flags for testing, and those that evaluate an encoder."""
    add = parser.add_argument
    add('config', nargs='?', help='config file, such as configs/probe/ssv2.py')
    add('checkpoint', nargs='?', help='a trained probe, or an encoder to train one on')
    add_shared(parser, '--work-dir', '(default: work_dirs/CONFIG_NAME)')
    add('--dump', metavar='FILE.pkl', help='write predictions for MMAction2 analysis tools')
    add_shared(parser, '--cfg-options')
    add('--show-dir', metavar='FOLDER', help='draw predictions into pictures in FOLDER')
    add('--show', action='store_true', help='show predictions in a window')
    add('--interval', type=int, default=1, help='draw every n-th sample (default: 1)')
    add('--wait-time', type=float, default=2, help='seconds a window is shown (default: 2)')
    add_launcher(parser)
    # What happens anyway: old command lines have it.
    add('--train-probe', action='store_true', help=argparse.SUPPRESS)
    add(
        '--from-json',
        metavar='RESULTS',
        help='repeat the evaluation recorded in a probe_results.json and compare every number',
    )
    add_shared(parser, '--cache-features')


def run(args: argparse.Namespace) -> None:
    """Check what can be checked at once, then evaluate."""
    if args.config is not None and args.from_json is None:
        from nextvid_mm.config_files import checked_config

        checked_config(args.config, args.cfg_options)
    from nextvid_mm.engine.probe.evaluate import run_test

    run_test(args)
