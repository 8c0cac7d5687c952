"""Write frozen features of videos and images: per token, per frame or pooled."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nextvid_mm  # noqa: F401  (makes the components known)
from nextvid_mm.inferencers import FeatureInferencer, find_media, write_features

EPILOG = """\
examples:
  python tools/extract_features.py work_dirs/demo/seed_0/iter_1500.pth videos/ --out features
  python tools/extract_features.py vit-l.safetensors data/own/own_list_videos.txt \\
      --root data/own/videos --out features --kind pooled
  python tools/extract_features.py vjepa2-l.pth a.mp4 b.jpg --out features --kind token \\
      --store float16 --num-frames 64 --stride 32

The checkpoint is one of tools/train.py (its reference encoder unless --weights says otherwise) or
a file of tools/convert_checkpoint.py. Folders are searched for videos and images; a .txt file is a
list as in docs/data.md ("path [label]" a line, # begins a comment). Videos of any length are cut
into windows.

--kind token: (T, N, C); frame: (T, C), the mean over a frame's tokens; pooled: (C,). T is one row
per tubelet, with its time in seconds. The same command again continues an interrupted run and tries
again what failed. In Python: nextvid_mm.inferencers.FeatureStore('features')['videos/a.mp4'].
"""


def main() -> None:
    """Extract; report a wrong setting in one message and unreadable files at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('checkpoint', help='file with an encoder')
    add('inputs', nargs='+', help='videos, images, folders, or .txt lists of files')
    add('--root', default='', help='folder that paths in lists are relative to (default: here)')
    add('--out', required=True, help='folder to write')
    add('--kind', choices=['token', 'frame', 'pooled'], default='frame', help='default: frame')
    add('--weights', choices=['reference', 'encoder'], help='which encoder of the checkpoint')
    add('--fps', type=float, default=4.0, help='frames per second; 0: every frame (default: 4)')
    add('--num-frames', type=int, default=16, help='video frames per window (default: 16)')
    add('--stride', type=int, help='frames from window to window (default: no overlap)')
    add('--size', type=int, help="pixels per side (default: the encoder's)")
    add('--batch-size', type=int, default=4, help='windows per forward pass (default: 4)')
    add('--dtype', choices=['auto', 'bfloat16', 'float16'], help='autocast (default: float32)')
    add('--store', default='float32', choices=['float32', 'float16', 'bfloat16'], help='on disk')
    add('--shard-megabytes', type=float, default=256, help='size of a shard (default: 256)')
    add('--device', help='such as cuda:1 (default: the fastest there is)')
    args = parser.parse_args()
    names = ('weights', 'device', 'num_frames', 'stride', 'size', 'batch_size', 'dtype')
    settings = {name: getattr(args, name) for name in names}
    try:
        paths = find_media(args.inputs, args.root)
        inferencer = FeatureInferencer(args.checkpoint, fps=args.fps or None, **settings)
        store = write_features(
            inferencer, paths, args.out, args.kind, args.store, args.shard_megabytes
        )
    except (ValueError, OSError) as error:
        sys.exit(f'extract_features: error: {error}')
    done = sum(path in store for path in paths)
    print(f'{args.out}: features of {done} of {len(paths)} files')
    for path in paths:
        if path in store.failed:
            print(f'  not read: {path}: {store.failed[path]}')
    if not done:
        sys.exit(
            f'extract_features: error: none of {len(paths)} files could be read; the reasons are '
            f'above. Paths in lists are relative to --root (now {args.root or "."!r})'
        )


if __name__ == '__main__':
    main()
