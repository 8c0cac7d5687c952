"""Write the targets of all training clips to a cache, so that training needs no autoencoder."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.config import Config, DictAction

import nextvid_mm  # noqa: F401  (makes the components known)
from nextvid_mm.engine.cli import errors_in_one_line
from nextvid_mm.engine.latents.caching import DTYPES, cache_latents

EPILOG = """\
examples:
  python tools/cache_latents.py CONFIG data/latents --device cuda
  python tools/cache_latents.py CONFIG data/latents --dtype float32 --num-frames 16

The config's pipelines must give the same clip of a file each time: SampleClipByTime with
test_mode=True, Resize, CenterCrop. A horizontal mmaction.Flip at their end is permitted: such clips
are cached both ways round. Started again, the tool adds what is missing. docs/targets.md shows the
two keys that make a config train from the cache.
"""


def main() -> None:
    """Parse the command line and fill the cache; report a wrong config or file in one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='pretraining config with the target generator')
    parser.add_argument('out', help='folder of the cache')
    parser.add_argument(
        '--dtype', choices=list(DTYPES), default='bfloat16', help='default: %(default)s'
    )
    parser.add_argument(
        '--num-frames', type=int, nargs='+', help='video frames (default: those of the stages)'
    )
    parser.add_argument('--batch-size', type=int, default=8, help='default: %(default)s')
    parser.add_argument(
        '--shard-size', type=int, default=1024, help='clips per file (default: %(default)s)'
    )
    parser.add_argument('--device', default='cpu', help='default: %(default)s')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='as in train.py'
    )
    args = parser.parse_args()
    with errors_in_one_line('cache_latents'):
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        report = cache_latents(
            cfg,
            args.out,
            args.dtype,
            args.num_frames,
            args.batch_size,
            args.shard_size,
            args.device,
        )
    print(
        f'{args.out}: {report.written} entries written, {report.kept} were there; '
        f'{len(report.unreadable)} files could not be read'
    )
    for path in report.unreadable:
        print(f'  {path}')


if __name__ == '__main__':
    main()
