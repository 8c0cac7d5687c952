"""Pack clips into tar files that can be read anywhere, or index tar files that are there."""

from __future__ import annotations

import argparse
from pathlib import Path

from nextvid_mm.checks import check_count
from nextvid_mm.cli.flags import add_shared

EPILOG = """\
Many small files are slow on a network and in a bucket; a thousand clips in a tar file are not. The
layout is WebDataset's. clips.csv beside the tar files says where each clip lies: it is the ann_file
of a ClipListDataset, whose data_prefix is the folder, on a disk or behind an address.

Packing goes on where it stopped. Files that cannot be read are left out and listed in
shard-000000.bad.txt; what is only copied is not decoded: scan the list first, or --verify. A part
of a video (start and end in a table) is encoded as a clip of its own.

examples:
  python tools/pack_shards.py data/mine packed                          # every file as it is
  python tools/pack_shards.py clips.parquet packed --root VIDEOS --short-side 288 --gop 12
  python tools/pack_shards.py packed --verify                           # looks at every clip
  python tools/pack_shards.py --index a.tar b.tar --out clips.csv       # tar files of others
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('source', nargs='?', help='list, or folder; with --verify, a packed folder')
    add('out_folder', nargs='?', type=Path, help='where tar files and clips.csv go')
    add_shared(parser, '--root', default='')
    add_shared(parser, '--columns')
    add('--per-shard', type=int, default=1000, help='clips of a tar file (default: %(default)s)')
    add('--short-side', type=int, help='encode anew, with so many pixels on the shorter side')
    add_shared(parser, '--fps', '(encodes anew)')
    add('--gop', type=int, help='encode anew, with a key frame every so many frames')
    add(
        '--quality',
        type=int,
        default=20,
        help="x264's rate factor where clips are encoded anew (default: %(default)s)",
    )
    add_shared(parser, '--workers', default=2)
    add('--verify', action='store_true', help='look at every clip of a packed folder')
    add('--index', nargs='+', metavar='TAR', help='write the table of tar files that exist')
    add('--label-key', help='with --index: key of the label in .json members')
    add('--classes', type=Path, help='with --index: names of classes, one a line, for such labels')
    add_shared(parser, '--out', '(the table of --index)', type=Path, default=Path('clips.csv'))


def run(args: argparse.Namespace) -> None:
    """Pack, verify or index."""
    check_count(args.per_shard, '--per-shard')
    for name in ('label_key', 'classes'):
        if args.index is None and getattr(args, name) is not None:
            raise ValueError(f'--{name.replace("_", "-")} is for --index: leave it out')
    if args.index and args.source is not None:
        raise ValueError(f'--index takes tar files behind it and nothing else, found {args.source}')
    if args.verify and args.out_folder is not None:
        raise ValueError(f'--verify looks at one folder, found {args.out_folder}, too')
    if args.index:
        _index(args)
    elif args.source is None:
        raise ValueError('give SOURCE and OUT_FOLDER, SOURCE --verify, or --index TAR ...')
    elif args.verify:
        _verify(Path(args.source))
    elif args.out_folder is None:
        raise ValueError(f'{args.source}: give the folder to pack into, too')
    else:
        _pack(args)


def _index(args: argparse.Namespace) -> None:
    from nextvid_mm.datasets.clip_shards import index_shards
    from nextvid_mm.inferencers.opening import read_names
    from nextvid_mm.progress import track

    classes = None
    if args.classes is not None:
        classes = {name: number for number, name in enumerate(read_names(args.classes))}
    archives = track(args.index, 'reading headers', 'tar files', len(args.index))
    count = index_shards(archives, args.out, label_key=args.label_key, classes=classes)
    print(f'{count:,} clips in {len(args.index):,} tar files: {args.out}')


def _verify(folder: Path) -> None:
    from nextvid_mm.datasets.clip_shards import TABLE
    from nextvid_mm.datasets.packing import verify

    bad = 0
    for name, reason in verify(folder):
        print(f'{name}: {reason}')
        bad += 1
    if bad:
        raise ValueError(f'{folder}: {bad:,} faults')
    print(f'{folder / TABLE}: every clip is as its table says')


def _pack(args: argparse.Namespace) -> None:
    from nextvid_mm.datasets.clip_shards import TABLE, index_shards
    from nextvid_mm.datasets.packing import Encoding, absolute_entries, pack
    from nextvid_mm.progress import track
    from nextvid_mm.run_folder import own_folder

    entries, notes = absolute_entries(args.source, args.root, args.columns)
    for note in notes:
        print(f'{args.source}: {note}')
    encoding = Encoding(args.short_side, args.fps, args.gop, args.quality)
    count = -(-len(entries) // args.per_shard)
    shards, bad = [], 0
    with own_folder(args.out_folder):
        packed = pack(entries, args.out_folder, args.per_shard, encoding, args.workers)
        for result in track(packed, 'packing', 'tar files', count):
            shards.append(result.shard)
            bad += len(result.bad)
        good = index_shards(shards, args.out_folder / TABLE)
    print(f'{good:,} clips in {len(shards):,} tar files: {args.out_folder / TABLE}')
    if bad:
        print(f'{bad:,} could not be read: {args.out_folder}/shard-*.bad.txt')
