"""Open every file of a list or folder; write a clean list, and a list of the bad with reasons."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nextvid_mm.cli.flags import add_shared, count

EPILOG = """\
Bad is: missing, permission, undecodable, zero-frame, timeout, too short (--min-frames), duplicate.
Training survives bad files, but looks at each again and again; a clean list spares it that.

For data/own/own_list_videos.txt, two files are written beside it:
  own_list_videos.clean.txt   the good lines, as they were: use it as ann_file
  own_list_videos.bad.txt     line, path, kind and reason, separated by tabs
Of a table, whose start and end are honoured, the clean list is a table with all of its columns.

examples:
  python tools/scan_dataset.py data/own/own_list_videos.txt --folder data/own/videos
  python tools/scan_dataset.py data/mine                  # every video and image below a folder
  python tools/scan_dataset.py LIST --folder VIDEOS --full --workers 32   # every frame; slow
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('source', type=Path, help='list ("path [label]" a line, or a table), or a folder')
    add_shared(parser, '--root', '', '--folder', default='')
    add_shared(parser, '--columns')
    add(
        '--min-frames',
        type=count,
        default=16,
        help='videos with fewer are too short (default: %(default)s); training repeats their last '
        'frame',
    )
    add('--full', action='store_true', help='decode every frame, not only first, middle and last')
    add_shared(parser, '--workers', type=count, default=os.cpu_count())
    add(
        '--timeout',
        type=count,
        default=120,
        help='seconds for one file (default: %(default)s)',
    )
    more = '(beginning of the names of the two files; default: the source)'
    add_shared(parser, '--out', more, type=Path)


def run(args: argparse.Namespace) -> None:
    """Scan with a progress bar and say what was found."""
    from rich.console import Console

    from nextvid_mm.datasets.scan import ScanReport, list_entries, report_files, scan
    from nextvid_mm.progress import track

    console = Console(highlight=False, soft_wrap=True)
    report = ScanReport()
    entries, notes = list_entries(args.source, args.root, args.columns)
    for note in notes:
        console.print(f'{args.source}: {note}')
    prefix, listed = args.out or _prefix(args.source), args.source if args.source.is_file() else ''
    for path in report_files(prefix, listed):
        _require_writable(path)
    found = scan(entries, args.workers, args.min_frames, args.full, args.timeout)
    for entry, finding in track(found, 'scanning', 'files', len(entries), console=console):
        report.add(entry, finding)
    clean, bad = report.write(prefix, listed)
    console.print(
        f'{len(report.good):,} good files, {report.seconds / 3600:,.1f} h of video: {clean}'
    )
    kinds = ', '.join(f'{count:,} {kind}' for kind, count in report.kinds.most_common())
    console.print(f'{len(report.bad):,} bad{f" ({kinds})" if kinds else ""}: {bad}')
    if not report.good:
        raise ValueError(f'{args.source} has no readable file; reasons in {bad}')


def _prefix(source: Path) -> Path:
    """Beginning of the names of the two files, beside a list or folder."""
    from nextvid_mm.datasets.listed_clips import TABLES

    if source.is_file():
        # Of k400.train and k400.val, what follows the dot is no kind of file.
        return source.with_suffix('') if source.suffix.lower() in ('.txt', *TABLES) else source
    # Beside a link, not its target; but '.' and '..' are no names to go by.
    return Path(f'{source.resolve() if source.name in ("", "..") else source}.folder')


def _require_writable(path: Path) -> None:
    """Raise unless a file can be made, which is better known before hours than after them."""
    from tempfile import NamedTemporaryFile

    from nextvid_mm.files import TEMPORARY_SUFFIX

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(prefix=f'{path.name}.', suffix=TEMPORARY_SUFFIX, dir=path.parent):
            reason = 'it is a folder' if path.is_dir() else None
    except OSError as error:
        reason = error.strerror
    if reason is not None:
        raise OSError(f'{path} cannot be written ({reason}): choose other names with --out')
