"""Compute mean and standard deviation of every latent channel of a config's targets."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.config import Config, DictAction

import nextvid_mm  # noqa: F401  (makes the components known)
from nextvid_mm.engine.cli import errors_in_one_line
from nextvid_mm.engine.latents.statistics import compute_statistics
from nextvid_mm.models.target_generators.statistics import check_suffix, write_statistics

EPILOG = """\
examples:
  python tools/compute_latent_stats.py configs/nextvid/vit-l_4stage.py checkpoints/latents_stats.pt
  python tools/compute_latent_stats.py CONFIG stats.json --clips 256 --device cuda

Clips are drawn as training would draw them: by the mixture's weights, cropped and flipped. The
file has the layout of LightningDiT's latents_stats.pt (mean and std of shape (1, C, 1, 1)); the
ending .safetensors or .json chooses another kind. Name it in model.target_generator.statistics.
"""


def main() -> None:
    """Parse the command line, compute, write; report a wrong config or file in one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='pretraining config with the target generator')
    parser.add_argument('out', help='file to write: .pt, .safetensors or .json')
    parser.add_argument('--clips', type=int, default=2048, help='default: %(default)s')
    parser.add_argument('--batch-size', type=int, default=8, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument('--device', default='cpu', help='default: %(default)s')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='as in train.py'
    )
    args = parser.parse_args()
    with errors_in_one_line('compute_latent_stats'):
        check_suffix(args.out)
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        mean, std = compute_statistics(cfg, args.clips, args.batch_size, args.seed, args.device)
        write_statistics(args.out, mean, std)
    print(
        f'{args.out}: {len(mean)} channels over {args.clips} clips; mean {mean.min():.3f} to '
        f'{mean.max():.3f}, std {std.min():.3f} to {std.max():.3f}'
    )


if __name__ == '__main__':
    main()
