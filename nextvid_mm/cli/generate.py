"""Generate frames with a pretrained model: hidden patches of a video, or what comes next."""

from __future__ import annotations

import argparse
from pathlib import Path

from nextvid_mm.cli.flags import add_shared, device_of
from nextvid_mm.run_folder import newest_checkpoint

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


SOLVERS = ('euler', 'heun')


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add(
        'checkpoint',
        metavar='CKPT',
        type=newest_checkpoint,
        help='checkpoint of a pretraining run, or its work directory',
    )
    add('input', metavar='INPUT', type=Path, help='image or video; any size, it is resized')
    add('--rollout', type=int, metavar='N', help='continue the seed by N video frames')
    add('--samples', type=int, default=4, help='generations per seed (default: %(default)s)')
    add('--steps', type=int, default=20, help='solver steps per tubelet (default: %(default)s)')
    add('--solver', choices=SOLVERS, default='euler', help='heun costs twice as much per step')
    add_shared(parser, '--seed', 'of masks and noise', default=0)
    more = 'that seeds the generation (default: 16, or all of a clip)'
    add_shared(parser, '--num-frames', more, '--frames')
    add_shared(parser, '--fps', 'that are taken (default: as in training)')
    add('--start', type=float, default=0.0, help='seconds of video to skip')
    add_shared(parser, '--window', 'in a rollout (default: as long as in training)')
    add('--compare-cache', action='store_true', help='time the rollout with and without its cache')
    add_shared(parser, '--out', '(a folder; default: generated/ beside CKPT)', type=Path)
    add_shared(parser, '--device')


def run(args: argparse.Namespace) -> None:
    """Generate and write."""
    if not Path(args.checkpoint).exists():
        raise FileNotFoundError(f'{args.checkpoint}: there is no such checkpoint')

    from mmengine.registry import init_default_scope

    from nextvid_mm.inferencers.generation import Sampling, generate_files
    from nextvid_mm.models.checkpoints import load_generator
    from nextvid_mm.registry import SCOPE

    init_default_scope(SCOPE)
    sampling = Sampling(args.samples, args.steps, args.solver, args.seed, args.window)
    paths = generate_files(
        load_generator(args.checkpoint, device_of(args)),
        args.input,
        args.out or Path(args.checkpoint).parent / 'generated',
        sampling,
        rollout=args.rollout,
        num_frames=args.num_frames,
        fps=args.fps,
        start=args.start,
        compare=args.compare_cache,
    )
    for path in paths:
        print(path)
