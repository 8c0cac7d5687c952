"""Generate frames with a pretrained model: hidden patches of a video, or what comes next."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from mmengine.registry import init_default_scope

import nextvid_mm  # noqa: F401  (makes the components known)
from nextvid_mm.flow.sampling import SOLVERS
from nextvid_mm.inferencers.generation import Sampling, generate_files
from nextvid_mm.models.checkpoints.generator import load_generator
from nextvid_mm.registry import SCOPE

EPILOG = """\
Without --rollout, patches are hidden as in training and those of every frame are generated from
the visible patches of *earlier* frames: original, masked and generated side by side. With
--rollout N, the model continues the seed (a video's beginning, or an image) by N video frames, each
tubelet from all frames before it, generated ones included. Past frames are never encoded twice.

Written for either: a PNG sheet (one picture per tubelet), a GIF and an MP4.

CKPT is a checkpoint of a pretraining run; its configuration is read from the file. An exported
encoder has no decoder and cannot generate.

examples:
  python tools/generate.py work_dirs/demo/seed_0/iter_1500.pth my_clip.mp4
  python tools/generate.py CKPT seed.png --rollout 16 --samples 6
  python tools/generate.py CKPT clip.mp4 --rollout 32 --steps 10 --solver heun --seed 3
"""


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('checkpoint', metavar='CKPT', type=Path, help='checkpoint of a pretraining run')
    add('input', metavar='INPUT', type=Path, help='image or video; any size, it is resized')
    add('--rollout', type=int, metavar='N', help='continue the seed by N video frames')
    add('--samples', type=int, default=4, help='generations per seed (default: %(default)s)')
    add('--steps', type=int, default=20, help='solver steps per frame (default: %(default)s)')
    add('--solver', choices=SOLVERS, default='euler', help='heun costs twice as much per step')
    add('--seed', type=int, default=0, help='of masks and noise (default: %(default)s)')
    add('--frames', type=int, help='video frames of the seed (default: 16, or all of a clip)')
    add('--fps', type=float, help='frames taken per second of video (default: as in training)')
    add('--start', type=float, default=0.0, help='seconds of video to skip')
    add(
        '--window', type=int, help='tubelets a roll-out remembers (default: as long as in training)'
    )
    add('--compare-cache', action='store_true', help='time the roll-out with and without its cache')
    add('--out', type=Path, help='folder to write to (default: generated/ beside CKPT)')
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args()


def main() -> None:
    """Generate and write; report bad input in one line."""
    args = parse_args()
    init_default_scope(SCOPE)
    try:
        sampling = Sampling(args.samples, args.steps, args.solver, args.seed, args.window)
        generator = load_generator(args.checkpoint, args.device)
        paths = generate_files(
            generator,
            args.input,
            args.out or args.checkpoint.parent / 'generated',
            sampling,
            rollout=args.rollout,
            num_frames=args.frames,
            fps=args.fps,
            start=args.start,
            compare=args.compare_cache,
        )
    except (ValueError, OSError) as error:
        sys.exit(f'generate: error: {error}')
    for path in paths:
        print(path)


if __name__ == '__main__':
    main()
