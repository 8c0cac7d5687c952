"""What mask samplers leave visible: ours, and V-JEPA's (arXiv 2404.08471) for a batch.

Shape legend: n masks, R rows, C columns of patches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks.report import Report
from nextvid_mm.datasets.transforms import BlockStrategy, FrameIsolatedMasking

GRID, ASPECT = (16, 16), (0.75, 1.5)
# The published strategies, and the patches that the published configs and a median draw show.
STRATEGIES = (
    ('8 of 0.15', BlockStrategy(GRID, 8, 0.15, ASPECT), (70, 97)),
    ('2 of 0.7', BlockStrategy(GRID, 2, 0.7, ASPECT), (22, 48)),
)
BATCH = 32
COLUMNS = (
    'masks', 'blocks', 'visible', 'sd', 'kept', 'predicted', 'alone, %', 'extra, %', 'distinct',
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """Masks of a sampler.

    Attributes:
        hidden: True where hidden, ``(n, R, C)``.
        blocks: True where a block lies, ``(n, R, C)``.
        kept: patches of a mask that the encoder gets, per batch.
        predicted: patches of a mask that are predicted, per batch.
    """

    hidden: NDArray[np.bool_]
    blocks: NDArray[np.bool_]
    kept: list[int]
    predicted: list[int]


def as_sampled(strategy: BlockStrategy, draws: int, rng: np.random.Generator) -> Drawn:
    """One draw for each clip, whatever it leaves."""
    hidden = strategy.draw(rng, draws)
    return Drawn(hidden, hidden, [], [])


def as_in_vjepa(strategy: BlockStrategy, draws: int, rng: np.random.Generator) -> Drawn:
    """One block shape for a batch; both sets of its samples are cut to the batch's smallest."""
    parts, kept, predicted = [], [], []
    for _ in range(draws // BATCH):
        ratio = rng.uniform(*strategy.aspect_ratio)
        shape = replace(strategy, aspect_ratio=(ratio, ratio))
        hidden = shape.draw(rng, BATCH)
        while (empty := hidden.all(axis=(1, 2))).any():  # it draws again what shows nothing
            hidden[empty] = shape.draw(rng, int(empty.sum()))
        counts = hidden.sum(axis=(1, 2))
        parts.append(hidden)
        kept.append(int(strategy.num_patches - counts.max()))
        predicted.append(int(counts.min()))
    hidden = np.concatenate(parts)
    return Drawn(hidden, hidden, kept, predicted)


def as_filled(
    strategy: BlockStrategy, num_visible: int, draws: int, rng: np.random.Generator
) -> Drawn:
    """Draws that leave too much, with further patches hidden at random: what we do not do."""
    parts = []
    while len(parts) < draws:
        (hidden,) = strategy.draw(rng)
        surplus = int((~hidden).sum()) - num_visible
        if surplus >= 0:
            filled = hidden.copy()
            filled.flat[rng.choice(np.flatnonzero(~hidden), surplus, replace=False)] = True
            parts.append((filled, hidden))
    filled, blocks = (np.stack(part) for part in zip(*parts, strict=True))
    return _even(filled, blocks, num_visible)


def as_ours(
    strategy: BlockStrategy, num_visible: int, draws: int, rng: np.random.Generator, rim: int = 0
) -> Drawn:
    """Draws that leave exactly ``num_visible``, or ``rim`` more or fewer."""
    hidden = np.stack([strategy.draw_exactly(num_visible, rng, rim) for _ in range(draws)])
    parts = np.array_split(hidden, -(-draws // 500))
    blocks = np.concatenate([largest_opening(part, strategy) for part in parts])
    return _even(hidden, blocks, num_visible)


def _even(hidden: NDArray[np.bool_], blocks: NDArray[np.bool_], num_visible: int) -> Drawn:
    return Drawn(hidden, blocks, [num_visible], [hidden[0].size - num_visible])


def largest_opening(hidden: NDArray[np.bool_], strategy: BlockStrategy) -> NDArray[np.bool_]:
    """What blocks of one of the strategy's shapes can cover of masks ``(n, R, C)`` from inside."""
    best = np.zeros_like(hidden)
    for height, width in shapes(strategy):
        fits = sliding_window_view(hidden, (height, width), axis=(1, 2)).all(axis=(3, 4))
        around = ((0, 0), (height - 1, height - 1), (width - 1, width - 1))
        places = sliding_window_view(np.pad(fits, around), (height, width), axis=(1, 2))
        covered = places.any(axis=(3, 4))
        better = covered.sum(axis=(1, 2)) > best.sum(axis=(1, 2))
        best[better] = covered[better]
    return best


def shapes(strategy: BlockStrategy) -> list[tuple[int, int]]:
    """Rows and columns of every block that a strategy draws."""
    rows, columns = strategy.grid
    area = strategy.scale * strategy.num_patches
    found = {
        (min(round((area * ratio) ** 0.5), rows), min(round((area / ratio) ** 0.5), columns))
        for ratio in np.linspace(*strategy.aspect_ratio, 2000)
    }
    return sorted(found)


def alone(hidden: NDArray[np.bool_]) -> float:
    """Share of the visible patches of ``(n, R, C)`` none of whose four neighbours is visible."""
    shown = np.pad(~hidden, ((0, 0), (1, 1), (1, 1)))
    near = shown[:, :-2, 1:-1] | shown[:, 2:, 1:-1] | shown[:, 1:-1, :-2] | shown[:, 1:-1, 2:]
    inside = shown[:, 1:-1, 1:-1]
    return float((inside & ~near).sum() / inside.sum())


def samplers(
    strategy: BlockStrategy, counts: tuple[int, int], draws: int
) -> Iterator[tuple[str, Drawn]]:
    """Name and masks of every sampler, each from the same seed."""
    low, median = counts
    yield 'as sampled', as_sampled(strategy, draws, np.random.default_rng(0))
    yield "V-JEPA's batches", as_in_vjepa(strategy, draws, np.random.default_rng(0))
    yield 'ours', as_ours(strategy, low, draws, np.random.default_rng(0))
    yield 'ours, rim=4', as_ours(strategy, low, draws, np.random.default_rng(0), rim=4)
    yield 'ours, median', as_ours(strategy, median, draws, np.random.default_rng(0))
    yield 'filled at random', as_filled(strategy, low, draws, np.random.default_rng(0))


def mask_statistics(draws: int = 5000) -> Report:
    """Statistics of every sampler on the published grid.

    Args:
        draws: masks of each; rounded down to whole batches for V-JEPA.
    """
    report = Report('masks on 16 x 16 patches', dict(draws=draws, batch=BATCH), COLUMNS)
    for blocks, strategy, counts in STRATEGIES:
        for name, drawn in samplers(strategy, counts, draws):
            visible = (~drawn.hidden).sum(axis=(1, 2))
            extra = (drawn.hidden & ~drawn.blocks).sum() / drawn.hidden.sum()
            distinct = len({mask.tobytes() for mask in drawn.hidden})
            means = [
                float(np.mean(part)) if part else None for part in (drawn.kept, drawn.predicted)
            ]
            row = (float(visible.mean()), float(visible.std()), *means, 100 * alone(drawn.hidden),
                   100 * float(extra), distinct)  # fmt: skip
            report.add(**dict(zip(COLUMNS, (name, blocks, *row), strict=True)))
    report.notes += [
        f'kept, predicted: patches of a clip that go through encoder and predictor, for a batch of '
        f'{BATCH}; alone: share of the visible patches without a visible neighbour; extra: share '
        'of the hidden patches that no block covers; distinct: different masks among the draws'
    ]
    return report


def mask_cost(clips: int = 3072) -> Report:
    """Processor time of the masks of a published batch, both strategies.

    Args:
        clips: clips of the batch.
    """
    report = Report('cost of masks', dict(clips=clips), ('masks', 'ms a clip'))
    published = [
        dict(num_blocks=strategy.num_blocks, scale=strategy.scale, num_visible=counts[0])
        for _, strategy, counts in STRATEGIES
    ]
    for name, settings in (
        ('ours', dict(strategies=published)),
        ('ours, rim=4', dict(strategies=published, rim=4)),
        ('ours, median', dict(quantile=0.5)),
    ):
        masking = FrameIsolatedMasking(16, **settings)
        masking.sample(GRID, np.random.default_rng(0))  # surveys the strategies
        start = time.process_time()
        for seed in range(clips):
            masking.sample(GRID, np.random.default_rng(seed))
        report.add(masks=name, **{'ms a clip': 1000 * (time.process_time() - start) / clips})
    return report
