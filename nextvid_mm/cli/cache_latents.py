"""Write the targets of all training clips to a cache, so that training needs no autoencoder."""

from __future__ import annotations

import argparse

from nextvid_mm.cli.flags import add_shared, device_of

EPILOG = """\
examples:
  python tools/cache_latents.py CONFIG data/latents --device cuda
  python tools/cache_latents.py CONFIG data/latents --store float32 --num-frames 16

The config's pipelines must give the same clip of a file each time: SampleClipByTime with
test_mode=True, Resize, CenterCrop. A horizontal mmaction.Flip at their end is permitted: such clips
are cached both ways round. Started again, the tool adds what is missing. docs/targets.md shows the
two keys that make a config train from the cache.
"""


DTYPES = ('float32', 'bfloat16')


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument('config', help='pretraining config with the target generator')
    parser.add_argument('out', help='folder of the cache')
    add_shared(parser, '--store', choices=DTYPES, default='bfloat16')
    add_shared(parser, '--num-frames', '(default: those of the stages)', nargs='+')
    add_shared(parser, '--batch-size', default=8)
    parser.add_argument(
        '--shard-size', type=int, default=1024, help='clips per file (default: %(default)s)'
    )
    add_shared(parser, '--device')
    add_shared(parser, '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Fill the cache and say what is in it."""
    from nextvid_mm.config_files import checked_config

    cfg = checked_config(args.config, args.cfg_options)

    from nextvid_mm.plan.stage_report import stage_table_of

    stage_table_of(cfg, args.config)  # says what is no pretraining config

    from nextvid_mm.engine.latents import cache_latents
    from nextvid_mm.run_folder import own_folder

    with own_folder(args.out):  # two that fill one cache would lose entries of each other
        report = cache_latents(
            cfg,
            args.out,
            args.store,
            args.num_frames,
            args.batch_size,
            args.shard_size,
            device_of(args),
        )
    print(
        f'{args.out}: {report.written} entries written, {report.kept} were there; '
        f'{len(report.unreadable)} files could not be read'
    )
    for path in report.unreadable:
        print(f'  {path}')
