"""Generate the demo videos: short clips of moving objects whose classes are motions."""

from __future__ import annotations

import argparse

from nextvid_mm.cli.flags import SHARED, add_shared

GOES_ON = 'The same command goes on with what is missing'
EPILOG = """\
A class is a motion: move_left, move_right, move_up, move_down, turn_left, turn_right, grow, shrink,
roll_left, roll_right, swing_sideways, swing_upright.
Objects and backgrounds are cut from photographs that scikit-image and scikit-learn ship; nothing
is downloaded, and training and validation share no photograph. A single frame says nothing about
the class, so a model must look at how frames follow one another. Of the still images the question
is what they show: which photograph they are cut from.

The folder holds videos_train/, videos_val/ (H.264), images_train/, images_val/ (JPEG) and list
files "name.mp4 label" in MMAction2's format, those of the images in what/. It is a cache: the same
options keep it, other options replace it, and an interrupted run continues where it stopped.

examples:
  python tools/make_demo_data.py                          # about a minute on two cores
  python tools/make_demo_data.py --difficulty 0.3         # darker backgrounds: easier
  python tools/make_demo_data.py --out data/tiny --num-train 120 --num-val 24
  python tools/make_demo_data.py --own 200 --out data/mine

--own N writes N videos as people have them, all in one folder: mp4, mkv, mov, avi and webm, 8 to 30
frames a second, landscape, portrait and square, some turned by their header, 4 to 7 seconds, two of
them broken, with labels.txt and label_map.txt. docs/tutorial.md goes on from there.
"""

# Fields of DemoSpec; what shared flags say is not repeated.
HELP = {
    'seed': ': the same one gives the same frames',
    'num_train': 'training clips',
    'num_val': 'validation clips',
    'frames': '',
    'fps': '; speeds are per second, so more fps moves less per frame',
    'size': 'of the clips, even',
    'difficulty': 'background contrast from 0 (black) to 1 (full-contrast photographs)',
    'probe_clips_per_class': 'clips per motion, and stills per photograph, in the labelled subsets',
    'num_images': 'still images',
    'image_size': 'height and width of the still images in pixels',
    'num_val_images': 'still images to validate with',
}
_FLAGS = {'frames': '--num-frames'}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags: the fields of the dataset's specification."""
    from nextvid_mm.demo.data.spec import DemoSpec

    add_shared(parser, '--out', '(a folder)', default='data/demo')
    add_shared(parser, '--workers', default=2)
    parser.add_argument(
        '--own', type=int, metavar='N', help='instead: N videos of mixed kinds, two of them broken'
    )
    group = parser.add_argument_group('content of the dataset')
    for name, text in HELP.items():
        flag = _FLAGS.get(name, f'--{name.replace("_", "-")}')
        default = getattr(DemoSpec, name)
        settings = dict(dest=name, type=type(default), default=default)
        if flag in SHARED:
            add_shared(group, flag, text, **settings)
        else:
            group.add_argument(flag, help=f'{text} (default: %(default)s)', **settings)


def run(args: argparse.Namespace) -> None:
    """Generate the dataset.

    Raises:
        ValueError: If flags do not fit together.
    """
    if args.own is not None:
        _run_own(args)
        return
    from nextvid_mm.demo.data.generate import make_demo_data
    from nextvid_mm.demo.data.spec import DemoSpec

    spec = DemoSpec(**{name: getattr(args, name) for name in HELP})
    root = make_demo_data(args.out, spec, workers=args.workers)
    print(
        f'{root}: {spec.num_train} training clips, {spec.num_val} validation clips, '
        f'{spec.num_images} images'
    )


def _run_own(args: argparse.Namespace) -> None:
    from nextvid_mm.demo.data.own import LISTED, make_own_videos
    from nextvid_mm.demo.data.spec import DemoSpec

    changed = [name for name in HELP if getattr(args, name) != getattr(DemoSpec, name)]
    if foreign := [name for name in changed if name != 'seed']:
        flag = _FLAGS.get(foreign[0], f'--{foreign[0].replace("_", "-")}')
        raise ValueError(f'--own takes --seed, --out and --workers besides, not {flag}')
    root = make_own_videos(args.out, args.own, args.seed, args.workers)
    print(f'{root}: {args.own} videos, two of them broken; labels: {root / LISTED}')
