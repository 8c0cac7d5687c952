"""Look at a folder through an encoder: neighbours, clusters, a map, duplicates, outliers."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nextvid_mm.cli.flags import add_shared, device_of
from nextvid_mm.files import shown
from nextvid_mm.run_folder import newest_checkpoint

GOES_ON = 'The same command goes on: features that are done are kept'
EPILOG = """\
examples:
  python tools/explore_videos.py work_dirs/demo/seed_0/iter_1500.pth videos/
  python tools/explore_videos.py vjepa2-l.pth videos/ --neighbours-of clip.mp4 --neighbours 12
  python tools/explore_videos.py vit-l.pth data/own/train.txt --root data/own --same 0.95

The encoder is whatever tools/extract_features.py takes. The folder --out gets explore.html, one
file that needs nothing else, and duplicates.txt, outliers.txt and without_duplicates.txt: lists as
in docs/data.md, with the labels of the input list where one was given; of a table with parts of
videos, tables.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add(
        'encoder',
        type=newest_checkpoint,
        help='file or folder with an encoder, work directory of a pretraining, or a config',
    )
    add('inputs', nargs='+', help='videos, images, folders, or lists (.txt, tables)')
    add_shared(parser, '--root', '(default: here)', default='')
    add_shared(parser, '--columns')
    add_shared(parser, '--out', '(a folder)', type=Path, default=Path('work_dirs/explore'))
    add('--neighbours-of', nargs='+', default=[], metavar='FILE', help='default: six of the inputs')
    add('--neighbours', type=int, default=6, metavar='N', help='of each (default: 6)')
    add('--clusters', type=int, metavar='N', help='default: by the number of files, 2 to 12')
    add(
        '--same',
        type=float,
        default=0.99,
        metavar='COSINE',
        help='from which two files count as duplicates (default: 0.99)',
    )
    add_shared(parser, '--weights')
    add_shared(parser, '--fps', 'that are taken; 0 takes every frame', default=4.0)
    add_shared(parser, '--num-frames', 'or window of a video', default=16)
    add_shared(parser, '--size', "of what the encoder sees (default: the encoder's)")
    add_shared(parser, '--batch-size', default=4)
    add_shared(parser, '--dtype')
    add_shared(parser, '--seed', 'of clusters and map', default=0)
    add_shared(parser, '--device')


def run(args: argparse.Namespace) -> None:
    """Extract what is missing, and write page and lists."""
    from nextvid_mm.checks import check_count
    from nextvid_mm.inferencers import FeatureInferencer, find_media, write_features
    from nextvid_mm.inferencers.media import listed_in
    from nextvid_mm.inferencers.opening import encoder_of
    from nextvid_mm.report.explore import Settings, write_exploration

    for name in ('neighbours', 'clusters'):
        if getattr(args, name) is not None:
            check_count(getattr(args, name), f'--{name}')
    queries = list(args.neighbours_of)
    if missing := [path for path in queries if not Path(path).is_file()]:
        raise FileNotFoundError(f'--neighbours-of {missing[0]}: there is no such file')
    media = {str(file): file for file in find_media(args.inputs, args.root, args.columns)}
    same = {os.path.abspath(name): name for name in media}  # './a.mp4' is no other video
    queries = [same.get(os.path.abspath(name), name) for name in queries]
    entries = {
        str(clip.below(args.root)): clip
        for word in args.inputs
        for clip in listed_in(word, args.columns) or ()
    }
    names = ('weights', 'num_frames', 'size', 'batch_size', 'dtype')
    inferencer = FeatureInferencer(
        encoder_of(args.encoder),
        fps=args.fps or None,
        device=device_of(args),
        **{name: getattr(args, name) for name in names},
    )
    wanted = {name: name for name in queries} | media
    store = write_features(inferencer, list(wanted.values()), args.out / 'features', 'pooled')
    for name in wanted:
        if name in store.failed:
            print(f'not read: {shown(name)}: {store.failed[name]}')
    if unread := [path for path in queries if path not in store]:
        raise ValueError(f'--neighbours-of {unread[0]} could not be read; the reason is above')
    written = write_exploration(
        args.out,
        {name: store[name].features for name in wanted if name in store},
        queries,
        {name: file for name, file in media.items() if name in store},
        entries,
        Settings(args.neighbours, args.clusters, args.same, args.seed),
    )
    print(', '.join(map(str, written.values())))
