"""What can be read off the demo's tokens by a linear map: where the object is, and where it goes.

``python -m benchmarks.states CHECKPOINT``: tokens of one tubelet, ridge regression fitted on
training clips, coefficient of determination on validation clips (other photographs), beside random
weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from nextvid_mm.demo.data.render import clip_states
from nextvid_mm.demo.data.spec import DemoSpec
from nextvid_mm.engine.probe.features import cached_dataset
from nextvid_mm.engine.probe.online_hook import load_clips
from nextvid_mm.engine.probe.training import build_probe
from nextvid_mm.evaluation.representation import effective_rank
from nextvid_mm.registry import SCOPE

PROBE, DATA = 'configs/probe/demo.py', 'data/demo'
FRAMES, TUBELET, STEP = 16, 2, 4  # of a clip; of a tubelet; the tubelet that is read
QUANTITIES = ('position', 'size', 'velocity', 'growth')


def targets_of(states: np.ndarray) -> dict[str, np.ndarray]:
    """What to read off, of states ``(n, T, 4)`` on circles, at the tubelet ``STEP``."""
    last = TUBELET * STEP + TUBELET - 1
    circle = 2 * np.pi * states[:, last]
    change = (np.diff(states[:, last - 1 : last + 1], axis=1)[:, 0] + 0.5) % 1 - 0.5
    on_circle = np.stack([np.cos(circle), np.sin(circle)], axis=2)
    return dict(
        position=on_circle[:, :2].reshape(len(states), -1),
        size=on_circle[:, 3],
        velocity=change[:, :2],
        growth=change[:, 3:],
    )


def decode(fit: torch.Tensor, seen: torch.Tensor, known: dict, wanted: dict) -> dict[str, float]:
    """Coefficient of determination of each quantity, of features ``(n, C)``."""
    scaler = StandardScaler().fit(fit.numpy())
    x, y = (scaler.transform(part.numpy()) for part in (fit, seen))
    scores = {}
    for name in QUANTITIES:
        ridge = RidgeCV(np.logspace(1, 6, 11)).fit(x, known[name])
        scores[name] = float(ridge.score(y, wanted[name]))
    return scores


def measure(checkpoint: str | None, weights: str, counts: Sequence[int] = (800, 400)) -> dict:
    """Scores and effective rank of one encoder."""
    init_default_scope(SCOPE)
    config, spec = Config.fromfile(PROBE), DemoSpec()
    probe = build_probe(config, checkpoint, encoder_weights=weights).eval()
    features, targets, tokens = [], [], torch.empty(0)
    for split, count in zip(('train', 'val'), counts, strict=True):
        settings = cached_dataset(config, split)
        settings['dataset']['ann_file'] = f'{DATA}/demo_{split}_list_videos.txt'
        settings['dataset']['indices'] = count
        clips, _ = load_clips(settings, count)
        batches = [dict(inputs=list(part[:, None]), data_samples=[]) for part in clips.split(32)]
        with torch.no_grad():
            tokens = torch.cat([next(iter(probe.views_of_batch(b))).float() for b in batches])
        features.append(tokens.unflatten(1, (FRAMES // TUBELET, -1))[:, STEP].flatten(1))
        targets.append(targets_of(np.stack([clip_states(spec, split, i) for i in range(count)])))
    rank = effective_rank(tokens[:, ::8])
    return decode(*features, *targets) | dict(rank=rank)


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser('python -m benchmarks.states', description=__doc__)
    parser.add_argument('checkpoint', type=Path, help='of a run of the demo or the ablations')
    parser.add_argument('--weights', choices=('reference', 'encoder'), default='encoder')
    args = parser.parse_args(words)
    table = Table('encoder', *QUANTITIES, 'effective rank')
    for name, weights in (('untrained', 'untrained'), (str(args.checkpoint), args.weights)):
        scores = measure(str(args.checkpoint), weights)
        table.add_row(name, *(f'{value:.2f}' for value in scores.values()))
    Console().print(table)


if __name__ == '__main__':
    main()
