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
    """Generate the dataset."""
    from nextvid_mm.demo.data.generate import make_demo_data
    from nextvid_mm.demo.data.spec import DemoSpec

    spec = DemoSpec(**{name: getattr(args, name) for name in HELP})
    root = make_demo_data(args.out, spec, workers=args.workers)
    print(
        f'{root}: {spec.num_train} training clips, {spec.num_val} validation clips, '
        f'{spec.num_images} images'
    )
