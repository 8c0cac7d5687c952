"""What can be read off the demo's tokens by a linear map: where the object is, and where it goes.

``python -m benchmarks.states CHECKPOINT ...``: tokens of one tubelet, ridge regression fitted on
training clips, coefficient of determination on validation clips (other photographs), beside random
weights; the kind (outline: disc, polygon or blob) by logistic regression, in %. With the effective
rank of the tokens over the run, as its log has it. ``--videos bodies`` asks the same of the second
world, where the kind is the body. ``--figure`` draws what ``--json`` holds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from benchmarks.worlds.bodies import WorldSpec, draw_scene
from nextvid_mm.demo.data.render import clip_outline, clip_states
from nextvid_mm.demo.data.spec import DemoSpec
from nextvid_mm.demo.run import PRETRAIN
from nextvid_mm.engine.probe.features import cached_dataset
from nextvid_mm.engine.probe.online_hook import load_clips
from nextvid_mm.engine.probe.training import build_probe
from nextvid_mm.evaluation.representation import effective_rank, linear_accuracy
from nextvid_mm.files import replace_when_complete, write_text
from nextvid_mm.registry import SCOPE
from nextvid_mm.visualization.figures import new_figure

PROBE, DATA = 'configs/probe/demo.py', 'data/demo'
BODY_PROBE = 'benchmarks/worlds/probe_how.py'
FRAMES, TUBELET, STEP = 16, 2, 4  # of a clip; of a tubelet; the tubelet that is read
QUANTITIES = ('position', 'size', 'velocity', 'growth')
UNTRAINED = 'untrained'


def targets_in_world(ways: np.ndarray) -> dict[str, np.ndarray]:
    """What to read off, of ways ``(n, T, 4)`` of bodies (``benchmarks.worlds.bodies.path``)."""
    last = TUBELET * STEP + TUBELET - 1
    change = ways[:, last] - ways[:, last - 1]
    return dict(
        position=ways[:, last, :2],
        size=ways[:, last, 3:],
        velocity=change[:, :2],
        growth=change[:, 3:],
    )


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


class Clips(NamedTuple):
    """Clips of one split, decoded, with what is to be read off them."""

    clips: Tensor
    states: dict[str, np.ndarray]
    kinds: Tensor
    """Outline of the object, or which body."""


def clip_frames(spec: DemoSpec | WorldSpec) -> slice:
    """Frames of a video that a probe's clip shows: the middle ones."""
    before = (spec.frames - FRAMES) // 2
    return slice(before, before + FRAMES)


def demo_clips(split: str, count: int) -> Clips:
    """Clips of the demo."""
    settings, spec = cached_dataset(Config.fromfile(PROBE), split), DemoSpec()
    settings['dataset']['ann_file'] = f'{DATA}/demo_{split}_list_videos.txt'
    settings['dataset']['indices'] = count
    states = np.stack([clip_states(spec, split, i)[clip_frames(spec)] for i in range(count)])
    kinds = torch.tensor([clip_outline(spec, split, i) for i in range(count)])
    return Clips(load_clips(settings, count)[0], targets_of(states), kinds)


def body_clips(split: str, count: int) -> Clips:
    """Clips of the second world, all that are there of no more than ``count``."""
    settings, spec = cached_dataset(Config.fromfile(BODY_PROBE), split), WorldSpec()
    settings['dataset']['ann_file'] = settings['dataset']['ann_file'].replace('_10.txt', '.txt')
    settings['dataset']['indices'] = count
    clips, _ = load_clips(settings, count)
    ways = [draw_scene(spec, split, i)[0].ways[clip_frames(spec)] for i in range(len(clips))]
    kinds = torch.tensor([spec.labels(i)[1] for i in range(len(clips))])
    return Clips(clips, targets_in_world(np.stack(ways)), kinds)


#: Of each kind of videos: how its clips are read, and how many to fit on and to ask.
VIDEOS: dict[str, tuple[Callable[[str, int], Clips], dict[str, int]]] = {
    'demo': (demo_clips, dict(train=800, val=400)),
    'bodies': (body_clips, dict(train=1680, val=448)),
}


class Videos:
    """Clips of one world, and what each encoder says of them."""

    def __init__(self, name: str):
        read, counts = VIDEOS[name]
        self.config = Config.fromfile(PROBE)
        self.parts = {split: read(split, count) for split, count in counts.items()}

    @torch.no_grad()
    def measure(self, checkpoint: str | None, weights: str = 'encoder') -> dict[str, Any]:
        """Scores of one encoder, None for random weights, with ``kind`` (%) and ``rank``."""
        torch.manual_seed(0)
        config = self.config.copy()
        if checkpoint is None:
            weights, config.model.backbone = UNTRAINED, Config.fromfile(PRETRAIN).model.backbone
        probe = build_probe(config, checkpoint, encoder_weights=weights).eval()
        read, tokens = [], torch.empty(0)
        for part in self.parts.values():
            batches = [dict(inputs=list(c[:, None]), data_samples=[]) for c in part.clips.split(32)]
            tokens = torch.cat([next(iter(probe.views_of_batch(b))).float() for b in batches])
            read.append(tokens.unflatten(1, (FRAMES // TUBELET, -1))[:, STEP].flatten(1))
        fit, asked = self.parts.values()
        scores = decode(*read, fit.states, asked.states)
        kind = linear_accuracy(read[0], fit.kinds, read[1], asked.kinds)
        return scores | dict(kind=kind, rank=effective_rank(tokens[:, ::8]))


def rank_curve(folder: Path) -> list[tuple[int, float]]:
    """Step and effective rank of the trained encoder's tokens, from the logs of a run's folder."""
    lines = [
        json.loads(line)
        for path in sorted(folder.glob('*/vis_data/scalars.json'))
        for line in path.read_text(encoding='utf-8').splitlines()
    ]
    found = {line['step']: line['feature_rank'] for line in lines if 'feature_rank' in line}
    return [(step, round(rank, 2)) for step, rank in sorted(found.items())]


def draw(records: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """What is read off each encoder, and its rank over the steps."""
    figure = new_figure(9.0, 3.2)
    bars, curves = figure.subplots(1, 2, width_ratios=(3, 2))
    wide = 0.8 / len(records)
    for place, (name, record) in enumerate(records.items()):
        heights = [max(record[quantity], 0.0) for quantity in QUANTITIES]
        at = np.arange(len(QUANTITIES)) + (place - (len(records) - 1) / 2) * wide
        colour = f'C{place}'
        bars.bar(at, heights, wide, color=colour, label=name)
        if record.get('ranks'):
            curves.plot(*zip(*record['ranks'], strict=True), color=colour)
        else:
            curves.axhline(record['rank'], color=colour, linestyle=':')
    bars.set_xticks(range(len(QUANTITIES)), QUANTITIES)
    bars.set_ylabel('coefficient of determination')
    bars.legend(fontsize=7)
    curves.set_xlabel('step')
    curves.set_ylabel('effective rank of tokens')
    curves.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_complete(path) as partial:
        figure.savefig(partial, format='png', dpi=110)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the table, and draw."""
    parser = argparse.ArgumentParser('python -m benchmarks.states', description=__doc__)
    parser.add_argument('checkpoints', nargs='*', help='of runs of the demo or the ablations')
    parser.add_argument('--names', nargs='+', help='of the checkpoints; else their paths')
    parser.add_argument('--weights', choices=('reference', 'encoder'), default='encoder')
    parser.add_argument('--videos', choices=VIDEOS, default='demo', help='what is read')
    parser.add_argument('--json', type=Path, help='to write, or to read where none is measured')
    parser.add_argument('--figure', type=Path, help='to draw')
    args = parser.parse_args(words)
    names = args.names or args.checkpoints
    if len(names) != len(args.checkpoints):
        parser.error(f'{len(names)} --names for {len(args.checkpoints)} checkpoints')
    if not args.checkpoints and (args.json is None or not args.json.is_file()):
        parser.error('give checkpoints to measure, or a --json that is there')
    if args.checkpoints:
        init_default_scope(SCOPE)
        videos = Videos(args.videos)
        records = {UNTRAINED: videos.measure(None)}
        for name, checkpoint in zip(names, args.checkpoints, strict=True):
            ranks = rank_curve(Path(checkpoint).parent)
            records[name] = videos.measure(checkpoint, args.weights) | dict(ranks=ranks)
        if args.json is not None:
            text = json.dumps(records, indent=None).replace('}, ', '},\n')
            write_text(args.json, text + '\n')
    else:
        records = json.loads(args.json.read_text(encoding='utf-8'))
    table = Table('encoder', *QUANTITIES, 'kind, %', 'effective rank')
    for name, record in records.items():
        scores = [f'{record[quantity]:.2f}' for quantity in QUANTITIES]
        table.add_row(name, *scores, f'{record["kind"]:.1f}', f'{record["rank"]:.1f}')
    Console().print(table)
    if args.figure is not None:
        draw(records, args.figure)


if __name__ == '__main__':
    main()
