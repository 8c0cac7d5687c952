"""Watch the streaming encoder: features of an endless video at a constant cost per frame."""

from __future__ import annotations

import argparse
from pathlib import Path

from nextvid_mm.cli.flags import add_shared, device_of

EPILOG = """\
Every tubelet (2 video frames) is encoded once; keys and values of the last --window tubelets are
kept, older ones are evicted. The label is a vote of the nearest labelled videos of --list, one
"path label" per line; without a list there is no label. A file is read as fast as it goes, a camera
at --fps.

examples:
  python tools/stream_demo.py CKPT data/demo/videos_val/00000_move_left.mp4 \\
      --list data/demo/demo_probe_list_videos.txt --root data/demo/videos_train
  python tools/stream_demo.py CKPT 0 --window 16       # camera 0
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('checkpoint', metavar='CKPT', help='checkpoint with an encoder')
    add('source', metavar='SOURCE', help='video file, or the number of a camera')
    add_shared(parser, '--weights', default='reference')
    add_shared(parser, '--window', default=32)
    add_shared(parser, '--fps', 'that are taken (default: as in training)')
    add('--list', type=Path, help='labelled videos, for a live label')
    add_shared(parser, '--root', '(default: here)', type=Path, default=Path())
    add('--bank-frames', type=int, default=16, help='video frames of each (default: %(default)s)')
    add('--limit', type=int, help='stop after so many video frames')
    add_shared(parser, '--device')
    add_shared(parser, '--dtype')


def run(args: argparse.Namespace) -> None:
    """Stream until the source or the user ends it."""
    from mmengine.registry import init_default_scope

    from nextvid_mm.inferencers.clip_files import read_camera, read_frames
    from nextvid_mm.inferencers.live import at_most, build_bank, run_stream
    from nextvid_mm.inferencers.streaming import StreamingEncoder
    from nextvid_mm.layers import resolve_dtype
    from nextvid_mm.models.checkpoints import training_fps
    from nextvid_mm.registry import SCOPE

    init_default_scope(SCOPE)
    device = device_of(args)
    try:
        stream = StreamingEncoder.from_checkpoint(
            args.checkpoint, args.weights, args.window, device, resolve_dtype(args.dtype, device)
        )
        fps = args.fps or training_fps(args.checkpoint)
        bank = args.list and build_bank(stream, args.list, args.root, fps, args.bank_frames)
        camera = args.source.isdecimal()
        pictures = (
            at_most(read_camera(int(args.source)), fps) if camera else read_frames(args.source, fps)
        )
        status = run_stream(stream, pictures, bank, limit=args.limit)
    except KeyboardInterrupt:
        return
    print(f'{status.frames} video frames at {fps:g} fps, {stream.seen} tubelets encoded')
