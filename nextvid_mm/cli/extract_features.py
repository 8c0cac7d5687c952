"""Write frozen features of videos and images: per token, per frame or pooled."""

from __future__ import annotations

import argparse

from nextvid_mm.cli.flags import add_shared, device_of
from nextvid_mm.files import shown
from nextvid_mm.run_folder import newest_checkpoint

EPILOG = """\
examples:
  python tools/extract_features.py work_dirs/demo/seed_0/iter_1500.pth videos/ --out features
  python tools/extract_features.py vit-l.safetensors data/own/own_list_videos.txt \\
      --root data/own/videos --out features --kind pooled
  python tools/extract_features.py vjepa2-l.pth a.mp4 b.jpg --out features --kind token \\
      --store float16 --num-frames 64 --stride 32

The checkpoint is one of tools/train.py (its reference encoder unless --weights says otherwise), a
file of tools/convert_checkpoint.py, a folder of save_pretrained (ours or of transformers), or a
config whose model.backbone is the encoder. Folders are searched for videos and images; a .txt file
is a list as in docs/data.md ("path [label]" a line, # begins a comment), a .csv, .tsv or .parquet
file a table, whose start and end are seconds. Videos of any length are cut into windows.

--kind token: (T, N, C); frame: (T, C), the mean over a frame's tokens; pooled: (C,). T is one row
per tubelet, with its time in seconds. The same command again continues an interrupted run and tries
again what failed. In Python: nextvid_mm.inferencers.FeatureStore('features')['videos/a.mp4'].

--format actionformer (OpenTAD reads it, too) writes NAME.npy (T, C) for every video and
features.json with fps and stride; bmn writes NAME.csv of --rows rows, as MMAction2's localizers
read them. Both take videos of any length in bounded memory and go on in the middle of one.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add(
        'checkpoint',
        type=newest_checkpoint,
        help='file or folder with an encoder, work directory of a pretraining, or a config',
    )
    add('inputs', nargs='+', help='videos, images, folders, or lists (.txt, tables)')
    add_shared(parser, '--root', '(default: here)', default='')
    add_shared(parser, '--columns')
    add_shared(parser, '--out', '(a folder)', required=True)
    add('--kind', choices=['token', 'frame', 'pooled'], default='frame', help='default: frame')
    add(
        '--format',
        choices=['shards', 'actionformer', 'bmn'],
        default='shards',
        help='layout of the folder (default: shards, of safetensors)',
    )
    add_shared(
        parser,
        '--window',
        'by a causal encoder that goes through a video once, for actionformer and bmn (default: '
        'windows of --num-frames)',
    )
    add('--rows', type=int, help='rows of a file of bmn (default: 100)')
    add_shared(parser, '--weights')
    add_shared(parser, '--fps', 'that are taken; 0 takes every frame', default=4.0)
    add_shared(parser, '--num-frames', 'or window of a video', default=16)
    add('--stride', type=int, help='frames from window to window (default: no overlap)')
    add_shared(parser, '--size', "of what the encoder sees (default: the encoder's)")
    add_shared(parser, '--batch-size', default=4)
    add_shared(parser, '--dtype')
    add_shared(parser, '--store', default='float32')
    add('--shard-megabytes', type=float, help='size of a shard (default: 256)')
    add_shared(parser, '--device')


def run(args: argparse.Namespace) -> None:
    """Extract; unreadable files come at the end."""
    from nextvid_mm.inferencers import FeatureInferencer, find_media, write_features
    from nextvid_mm.inferencers.opening import encoder_of

    if args.format == 'shards' and args.window is not None:
        raise ValueError('--window is for --format actionformer and bmn')
    if args.format != 'bmn' and args.rows is not None:
        raise ValueError('--rows is for --format bmn')
    if (megabytes := args.shard_megabytes) is not None:
        if args.format != 'shards':
            raise ValueError(f'--shard-megabytes is for --format shards, not {args.format}')
        if not megabytes > 0:
            raise ValueError(f'--shard-megabytes {megabytes:g} must be above 0')
    if args.format != 'shards' and args.kind != 'frame':
        raise ValueError(f'--format {args.format} is of --kind frame, found --kind {args.kind}')
    names = ('weights', 'num_frames', 'stride', 'size', 'batch_size', 'dtype')
    settings = {name: getattr(args, name) for name in names}
    paths = find_media(args.inputs, args.root, args.columns)
    inferencer = FeatureInferencer(
        encoder_of(args.checkpoint), fps=args.fps or None, device=device_of(args), **settings
    )
    if args.format == 'shards':
        store = write_features(inferencer, paths, args.out, args.kind, args.store, megabytes or 256)
        failed = store.failed
    else:
        from nextvid_mm.inferencers.sequences import write_sequences

        rows = 100 if args.rows is None else args.rows
        failed = write_sequences(
            inferencer, paths, args.out, args.format, args.window, rows, args.store
        )['failed']
    failed = {str(media): failed[str(media)] for media in paths if str(media) in failed}
    print(f'{args.out}: features of {len(paths) - len(failed)} of {len(paths)} files')
    for path, reason in failed.items():
        print(f'  not read: {shown(path)}: {reason}')
    if len(failed) == len(paths):
        raise ValueError(
            f'none of {len(paths)} files could be read; the reasons are above. Paths in lists are '
            f'relative to --root (now {args.root or "."!r})'
        )
