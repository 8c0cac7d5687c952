"""``python -m benchmarks.worlds.still``: how much of the pixel targets a copy of the past explains.

*Unexplained*: the part of the targets' variance that is left when each is taken to be what stood at
its place one tubelet before. *Moving*: the smallest part of the patches that holds nine tenths of
that change. For the demo's videos and for those of ``python -m benchmarks.worlds``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nextvid_mm.engine.probe.features import cached_dataset
from nextvid_mm.engine.probe.online_hook import load_clips
from nextvid_mm.models.target_generators import PixelTarget
from nextvid_mm.registry import SCOPE

WORLDS = {'demo': 'configs/probe/demo.py', 'bodies': 'benchmarks/worlds/probe_how.py'}
#: Side of a patch, and squares of pixels that are averaged: the demo's grid, and the finer one.
GRIDS = ((16, 4), (8, 2))


def stillness(clips: Tensor, patch_size: int, pool: int) -> tuple[float, float]:
    """Unexplained and moving part, of 0 to 1.

    Args:
        clips: ``(n, 3, T, height, width)`` in [-1, 1].
        patch_size: pixels per side.
        pool: of ``PixelTarget``.
    """
    targets = PixelTarget(patch_size, pool=pool)(clips, first=0)
    change = (targets[:, 1:] - targets[:, :-1]).square()
    now = targets[:, 1:]
    unexplained = change.mean() / (now - now.mean((0, 1, 2))).square().mean()
    of_patch = change.mean(-1).flatten().sort(descending=True).values
    enough = int((of_patch.cumsum(0) < 0.9 * of_patch.sum()).sum()) + 1
    return float(unexplained), enough / len(of_patch)


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser('python -m benchmarks.worlds.still', description=__doc__)
    parser.add_argument('--clips', type=int, default=200, help='validation clips of each')
    args = parser.parse_args(words)
    init_default_scope(SCOPE)
    table = Table('videos', 'patches', 'unexplained, %', 'moving, %')
    for name, path in WORLDS.items():
        clips, _ = load_clips(cached_dataset(Config.fromfile(path), 'val'), args.clips)
        for size, pool in GRIDS:
            parts = stillness(clips.float() / 127.5 - 1, size, pool)
            side = clips.shape[-1] // size
            table.add_row(name, f'{side} x {side}', *(f'{100 * part:.1f}' for part in parts))
    Console().print(table)


if __name__ == '__main__':
    main()
