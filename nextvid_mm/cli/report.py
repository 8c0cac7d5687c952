"""Write a report about a run: one HTML file that opens anywhere, without a network."""

from __future__ import annotations

import argparse
from pathlib import Path

from nextvid_mm.cli.flags import add_shared, device_of

EPILOG = """\
examples:
  python tools/report.py work_dirs/demo                          # what the demo ends with
  python tools/report.py work_dirs/vit-tiny_demo --probe-config configs/probe/demo.py
  python tools/report.py work_dirs/vit-l_4stage                  # curves, your videos, streaming
  python tools/report.py work_dirs/vit-l_4stage --device cuda --max-videos 200 \\
      --probe-config configs/probe/ssv2.py --probe-results work_dirs/ssv2/probe_results.json

Without a probe config, clips of the run's own mixture are shown: input, mask, generated frames,
what the encoder attends to, its features as colours and as a map.

With a probe config, its validation videos serve for the map of features, the attention of the
trained probe and the comparison of generated frames with copying the last one. The demo leaves its
own in its work directory, where it is found. Of a large dataset, an even choice of --max-videos is
decoded, batch by batch.

Your own probes are read from the probe_results.json files that tools/test.py leaves, each beside
its probe.pth: those below WORK_DIR are found, others are named with --probe-results. The report
trains none.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('work_dir', metavar='WORK_DIR', type=Path, help='of a training run, or of the demo')
    add_shared(parser, '--out', '(default: WORK_DIR/report.html)', '--output', type=Path)
    add('--probe-config', help='probe config with labelled videos')
    add(
        '--probe-results',
        nargs='+',
        default=[],
        type=Path,
        metavar='FILE',
        help='further probe_results.json files to show',
    )
    add(
        '--max-videos',
        type=int,
        default=600,
        metavar='N',
        help='videos that are decoded at most (default: %(default)s)',
    )
    add_shared(parser, '--device')


def run(args: argparse.Namespace) -> None:
    """Write the page."""
    from nextvid_mm.config_files import checked_config

    if not args.work_dir.is_dir():
        raise FileNotFoundError(f'work directory {args.work_dir} does not exist')
    probe = checked_config(args.probe_config) if args.probe_config else None

    from nextvid_mm.report import write_report

    page = write_report(
        args.work_dir,
        args.out,
        probe,
        device=device_of(args),
        max_videos=args.max_videos,
        probe_results=args.probe_results,
    )
    print(page)
