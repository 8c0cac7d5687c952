"""Generate the demo videos: short clips of moving objects whose classes are motions."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nextvid_mm.demo.data import MOTIONS, DemoSpec, make_demo_data

EPILOG = f"""\
A class is a motion: {', '.join(motion.name for motion in MOTIONS)}.
Objects and backgrounds are cut from photographs that scikit-image and scikit-learn ship; nothing
is downloaded, and training and validation share no photograph. A single frame says nothing about
the class, so a model must look at how frames follow one another.

The folder holds videos_train/, videos_val/ (H.264), images_train/ (JPEG) and list files
"name.mp4 label" in MMAction2's format. It is a cache: the same options keep it, other options
replace it, and an interrupted run continues where it stopped.

examples:
  python tools/make_demo_data.py                          # about a minute on two cores
  python tools/make_demo_data.py --difficulty 0.3         # darker backgrounds: easier
  python tools/make_demo_data.py --root data/tiny --num-train 120 --num-val 24
"""

HELP = {
    'seed': 'the same seed gives the same frames',
    'num_train': 'training clips',
    'num_val': 'validation clips',
    'frames': 'video frames per clip',
    'fps': 'frames per second; speeds are per second, so more fps moves less per frame',
    'size': 'height and width of the clips in pixels, even',
    'difficulty': 'background contrast from 0 (black) to 1 (full-contrast photographs)',
    'probe_clips_per_class': 'clips per class in the labelled subset demo_probe_list_videos.txt',
    'num_images': 'still images',
    'image_size': 'height and width of the still images in pixels',
}


def parse_args() -> argparse.Namespace:
    """Parse the command line; the spec's fields are options of the same name."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--root', default='data/demo', help='folder to write (default: %(default)s)'
    )
    parser.add_argument(
        '--workers', type=int, default=2, help='processes to render with (default: %(default)s)'
    )
    group = parser.add_argument_group('content of the data set')
    defaults = DemoSpec()
    for name, text in HELP.items():
        default = getattr(defaults, name)
        group.add_argument(
            '--' + name.replace('_', '-'),
            type=type(default),
            default=default,
            help=f'{text} (default: %(default)s)',
        )
    return parser.parse_args()


def main() -> None:
    """Generate the data set; report a wrong option or folder in one line."""
    args = parse_args()
    try:
        spec = DemoSpec(**{name: getattr(args, name) for name in HELP})
        root = make_demo_data(args.root, spec, workers=args.workers)
    except (ValueError, OSError) as error:
        sys.exit(f'make_demo_data: error: {error}')
    print(
        f'{root}: {spec.num_train} training clips, {spec.num_val} validation clips, '
        f'{spec.num_images} images'
    )


if __name__ == '__main__':
    main()
