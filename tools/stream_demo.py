"""Watch the streaming encoder: features of an endless video at a constant cost per frame."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from mmengine.registry import init_default_scope

import nextvid_mm  # noqa: F401  (makes the components known)
from nextvid_mm.inferencers.clip_files import read_camera, read_frames
from nextvid_mm.inferencers.live import at_most, build_bank, run_stream
from nextvid_mm.inferencers.streaming import StreamingEncoder
from nextvid_mm.models.checkpoints.generator import training_fps
from nextvid_mm.registry import SCOPE

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


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('checkpoint', metavar='CKPT', help='checkpoint with an encoder')
    add('source', metavar='SOURCE', help='video file, or the number of a camera')
    add('--weights', choices=['reference', 'encoder'], default='reference', help='which encoder')
    add('--window', type=int, default=32, help='tubelets in memory (default: %(default)s)')
    add('--fps', type=float, help='frames per second (default: as in training)')
    add('--list', type=Path, help='labelled videos, for a live label')
    add('--root', type=Path, default=Path(), help='folder the paths in --list are relative to')
    add('--bank-frames', type=int, default=16, help='video frames of each (default: %(default)s)')
    add('--limit', type=int, help='stop after so many video frames')
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add('--dtype', choices=['bfloat16', 'float16'], help='autocast type (default: none)')
    return parser.parse_args()


def main() -> None:
    """Stream until the source ends; report bad input in one line."""
    args = parse_args()
    init_default_scope(SCOPE)
    dtype = args.dtype and getattr(torch, args.dtype)
    try:
        stream = StreamingEncoder.from_checkpoint(
            args.checkpoint, args.weights, args.window, args.device, dtype
        )
        fps = args.fps or training_fps(args.checkpoint)
        bank = args.list and build_bank(stream, args.list, args.root, fps, args.bank_frames)
        camera = args.source.isdecimal()
        pictures = (
            at_most(read_camera(int(args.source)), fps) if camera else read_frames(args.source, fps)
        )
        status = run_stream(stream, pictures, bank, limit=args.limit)
    except (ValueError, OSError) as error:
        sys.exit(f'stream_demo: error: {error}')
    except KeyboardInterrupt:
        sys.exit(0)
    print(f'{status.frames} video frames at {fps:g} fps, {stream.seen} tubelets encoded')


if __name__ == '__main__':
    main()
