"""Compute mean and standard deviation of every latent channel of a config's targets."""

from __future__ import annotations

import argparse

from nextvid_mm.cli.flags import add_shared, device_of

EPILOG = """\
examples:
  python tools/compute_latent_stats.py configs/nextvid/vit-l_4stage.py checkpoints/latents_stats.pt
  python tools/compute_latent_stats.py CONFIG stats.json --clips 256 --device cuda

Clips are drawn as training would draw them: by the mixture's weights, cropped and flipped. The
file has the layout of LightningDiT's latents_stats.pt (mean and std of shape (1, C, 1, 1)); the
ending .safetensors or .json chooses another kind. Name it in model.target_generator.statistics.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument('config', help='pretraining config with the target generator')
    parser.add_argument('out', help='file to write: .pt, .safetensors or .json')
    parser.add_argument('--clips', type=int, default=2048, help='default: %(default)s')
    add_shared(parser, '--batch-size', default=8)
    add_shared(parser, '--seed', 'of the choice of clips', default=0)
    add_shared(parser, '--device')
    add_shared(parser, '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Compute and write."""
    from nextvid_mm.config_files import checked_config

    cfg = checked_config(args.config, args.cfg_options)

    from nextvid_mm.plan.stage_report import stage_table_of

    stage_table_of(cfg, args.config)  # says what is no pretraining config

    from nextvid_mm.engine.latents import compute_statistics
    from nextvid_mm.models.target_generators.pretrained import check_suffix, write_statistics

    check_suffix(args.out)
    mean, std = compute_statistics(cfg, args.clips, args.batch_size, args.seed, device_of(args))
    write_statistics(args.out, mean, std)
    print(
        f'{args.out}: {len(mean)} channels over {args.clips} clips; mean {mean.min():.3f} to '
        f'{mean.max():.3f}, std {std.min():.3f} to {std.max():.3f}'
    )
