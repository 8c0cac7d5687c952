"""Show training clips as the model gets them, before anything is trained."""

import argparse
from pathlib import Path

from nextvid_mm.checks import check_count

EPILOG = """\
examples:
  python tools/browse_dataset.py configs/nextvid/vit-tiny_demo.py
  python tools/browse_dataset.py CONFIG --number 50 --html --output-dir work_dirs/browse
  python tools/browse_dataset.py --replaced work_dirs/RUN/replaced_samples.rank0.txt
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('config', nargs='?', help='training config; its clips are shown with masks, file and times')
    add('--replaced', type=Path, help="instead: a run's list of replaced samples, with reasons")
    add('--number', '-n', type=int, default=12, help='clips (default: %(default)s)')
    add('--start', type=int, help='number of the first clip (default: 0)')
    add('--seed', type=int, help='seed of the run (default: 0)')
    add('--html', action='store_true', help='write a page besides the sheet')
    add(
        '--output-dir',
        '-o',
        type=Path,
        default=Path('work_dirs/browse'),
        help='folder to write to (default: %(default)s)',
    )


def run(args: argparse.Namespace) -> None:
    """Write the sheet and say where it is."""
    if (args.config is None) == (args.replaced is None):
        raise ValueError('give either a config or --replaced LIST')
    check_count(args.number, '--number')
    for name in ('start', 'seed'):
        if (value := getattr(args, name)) is not None:
            check_count(value, f'--{name}', least=0)
            if args.replaced is not None:
                raise ValueError(f'--{name} is for the clips of a config: leave it out')
    from mmengine.registry import init_default_scope

    from nextvid_mm.config_files import checked_config
    from nextvid_mm.plan.stage_report import stage_table_of
    from nextvid_mm.registry import SCOPE
    from nextvid_mm.visualization.browse import replaced_files, training_clips, write_pages

    init_default_scope(SCOPE)
    if args.replaced is None:
        config = checked_config(args.config)
        stage_table_of(config, args.config)  # says what is no training config
        shown = list(training_clips(config, args.number, args.seed or 0, args.start or 0))
        name = Path(args.config).stem
    else:
        shown, name = list(replaced_files(args.replaced, args.number)), args.replaced.stem
    if not shown:
        raise ValueError(f'{args.replaced} lists no file')
    written = write_pages(shown, args.output_dir / name, args.html)
    for clip in shown:
        print(clip.title)
    print(', '.join(map(str, written)))
