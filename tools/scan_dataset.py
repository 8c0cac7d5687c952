"""Open every file of a list or folder; write a clean list, and a list of the bad with reasons."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.progress import track

from nextvid_mm.datasets.scan import ScanReport, list_entries, scan

EPILOG = """\
Bad is: missing, permission, undecodable, zero-frame, too short (--min-frames), duplicate. Training
survives bad files, but looks at each again and again; a clean list spares it that.

For data/own/own_list_videos.txt, two files are written beside it:
  own_list_videos.clean.txt   the good lines, as they were: use it as ann_file
  own_list_videos.bad.txt     line, path, kind and reason, separated by tabs

examples:
  python tools/scan_dataset.py data/own/own_list_videos.txt --folder data/own/videos
  python tools/scan_dataset.py data/mine                  # every video and image below a folder
  python tools/scan_dataset.py LIST --folder VIDEOS --full --workers 32   # every frame; slow
"""


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('source', type=Path, help='list file ("path [label]" a line), or a folder')
    add('--folder', default='', help='folder that the paths of a list are relative to')
    add(
        '--min-frames',
        type=int,
        default=16,
        help='videos with fewer are too short (default: %(default)s); training repeats their last '
        'frame',
    )
    add('--full', action='store_true', help='decode every frame, not only first, middle and last')
    add('--workers', type=int, default=os.cpu_count(), help='processes (default: %(default)s)')
    add(
        '--timeout',
        type=int,
        default=120,
        help='seconds after which a file counts as undecodable (default: %(default)s)',
    )
    add('--out', type=Path, help='beginning of the names of the two files (default: the source)')
    args = parser.parse_args()
    for name in ('workers', 'timeout', 'min_frames'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1')
    return args


def main() -> None:
    """Scan with a progress bar and say what was found."""
    args = parse_args()
    console = Console(highlight=False, soft_wrap=True)
    report = ScanReport()
    try:
        entries = list_entries(args.source, args.folder)
        found = scan(entries, args.workers, args.min_frames, args.full, args.timeout)
        for entry, finding in track(found, 'scanning', total=len(entries), console=console):
            report.add(entry, finding)
        prefix = args.out or args.source.with_suffix('' if args.source.is_file() else '.folder')
        clean, bad = report.write(prefix)
    except (ValueError, OSError) as error:
        sys.exit(f'scan_dataset: error: {error}')
    console.print(
        f'{len(report.good):,} good files, {report.seconds / 3600:,.1f} h of video: {clean}'
    )
    kinds = ', '.join(f'{count:,} {kind}' for kind, count in report.kinds.most_common())
    console.print(f'{len(report.bad):,} bad{f" ({kinds})" if kinds else ""}: {bad}')
    if not report.good:
        sys.exit(f'scan_dataset: error: {args.source} has no readable file; reasons in {bad}')


if __name__ == '__main__':
    main()
