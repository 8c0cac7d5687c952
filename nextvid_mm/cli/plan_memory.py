"""Print how much memory a GPU needs to train a config, under DDP and under FSDP."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nextvid_mm.cli.flags import add_shared

if TYPE_CHECKING:
    from mmengine.config import Config
    from rich.console import Console

EPILOG = """\
Arithmetic from shapes, in GiB: nothing is allocated and no GPU is needed. A test checks weights
against real allocations; activations are what autograd keeps under bfloat16 autocast with fused
attention. Not counted: the CUDA context, fragmentation, the loader's batches, and what the frozen
target generator needs while it runs. Leave some room.

  buffers        DDP: gradient buckets and bfloat16 copies of weights; FSDP: gathered blocks
  recomputed     one block, while checkpointing recomputes it
  checkpointing  with_cp: products: 'products' everywhere; encoder: True there; all: True everywhere

--gpu prints the fastest setting that fits instead: clips at once, and with_cp of each network, with
the keys that set them. The published configs have what it says for 80 GB.

examples:
  python tools/plan_memory.py configs/nextvid/vit-g_4stage.py --world-size 8 96
  python tools/plan_memory.py CONFIG --world-size 96 --shard-size 8     # a copy on each machine
  python tools/plan_memory.py CONFIG --world-size 96 --gpu 80
  python tools/plan_memory.py CONFIG --cfg-options train_cfg.stages.0.micro_batch_size=16
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('config', help='config with train_cfg.stages')
    add('--world-size', type=int, nargs='+', default=[8, 96], help='GPUs (default: 8 96)')
    add(
        '--shard-size',
        type=int,
        help="GPUs that share one copy under FSDP (default: the config's, or all)",
    )
    add('--gpu', type=float, metavar='GB', help='memory: print the fastest setting that fits')
    add_shared(parser, '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Print one table per number of GPUs, kind of stage and way of distribution."""
    from nextvid_mm.config_files import checked_config

    cfg = checked_config(args.config, args.cfg_options)

    from rich.console import Console

    from nextvid_mm.plan.activations import ActivationCounter, build_on_meta, visible_patches
    from nextvid_mm.plan.memory_plan import count_weights, memory_rows, render, stage_kinds
    from nextvid_mm.plan.stage_report import stage_table_of
    from nextvid_mm.progress import track

    console = Console(highlight=False)
    console = Console(width=max(console.width, 138), highlight=False)
    table = stage_table_of(cfg, args.config)
    if args.gpu is not None:
        _print_fastest(cfg, args, console)
        return
    kinds = {size: stage_kinds(table, size) for size in args.world_size}
    shards_of = {size: _shards(cfg, args, size) for size in args.world_size}
    model = build_on_meta(cfg.model)
    visible = visible_patches(cfg.train_dataloader.dataset.pipeline, model.backbone.img_size)
    weights = count_weights(model)
    counter = ActivationCounter(cfg.model, visible)
    trainable, reference = weights.trainable / 1e6, weights.reference / 1e6
    console.print(f'{args.config}: {trainable:,.0f}M trainable, {reference:,.0f}M reference')
    tables = [
        (size, kind, name, shards)
        for size, found in kinds.items()
        for kind in found
        for name, shards in (('DDP', None), ('FSDP', shards_of[size]))
    ]
    for size, kind, name, shards in track(tables, 'counting', 'tables', console=console):
        rows = memory_rows(weights, counter, kind, shards)
        title = f'{size} GPUs, {kind.num_frames} frames, tau {kind.tau_samples}, {name}'
        console.print(render(rows, f'{title}: GiB per GPU'))


def _shards(cfg: Config, args: argparse.Namespace, size: int) -> int:
    """GPUs of ``size`` that share one copy under FSDP, by flag or else by config."""
    said = args.shard_size
    if said is None:
        said = (cfg.get('model_wrapper_cfg') or {}).get('shard_size')
    shards = size if said is None else said
    if shards < 1 or size % shards:
        raise ValueError(f'--shard-size {shards} does not divide {size} GPUs')
    return int(shards)


def _print_fastest(cfg: Config, args: argparse.Namespace, console: Console) -> None:
    """Print the fastest setting that fits, as the config distributes the model."""
    from nextvid_mm.plan.fastest import Fastest, describe

    if not args.gpu > 0:
        raise ValueError(f'--gpu {args.gpu:g} must be more than 0: GB of memory, such as 80')
    sharded = cfg.get('runner_type') == 'ShardedRunner'
    if args.shard_size is not None and not sharded:
        raise ValueError(f'--shard-size: {args.config} keeps a copy on each GPU (no ShardedRunner)')
    for size in args.world_size:
        shards = _shards(cfg, args, size) if sharded else None
        found = Fastest(cfg, args.gpu, size, shards).find()
        way = f'FSDP over {shards}' if sharded else 'DDP'
        title = f'{size} GPUs of {args.gpu:g} GB, {way}: the fastest setting that fits'
        for part in describe(found, args.gpu, title):
            console.print(part, soft_wrap=isinstance(part, str))
