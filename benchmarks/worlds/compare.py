"""``python -m benchmarks.worlds.compare``: what single keys change in the second world.

Every row is the demo's pretraining on the videos of ``python -m benchmarks.worlds``, with a few
keys of its own. Its encoder is probed as it is at the end, frozen, beside random weights: attentive
probes of 10, 100 and all labels a class, k-NN and a linear probe on mean tokens.

Shape legend: n clips, N tokens, C channels.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from benchmarks.states import rank_curve
from benchmarks.worlds.bodies import WorldSpec
from nextvid_mm.config_files import find_config
from nextvid_mm.demo.ablations.results import QUESTIONS, Budget
from nextvid_mm.demo.ablations.runs import Run, at_demo_scale, machine
from nextvid_mm.demo.ablations.tables import ABLATIONS, BASELINES, Row
from nextvid_mm.demo.run import PRETRAIN
from nextvid_mm.engine.hooks.moments import FOLDER
from nextvid_mm.engine.probe.features import cached_dataset
from nextvid_mm.engine.probe.grid_optim import GridAdamW
from nextvid_mm.engine.probe.online_hook import load_clips
from nextvid_mm.engine.probe.training import build_probe
from nextvid_mm.evaluation.representation import effective_rank, knn_accuracy, linear_accuracy
from nextvid_mm.files import write_text
from nextvid_mm.models.heads.probe_head import ProbeHead
from nextvid_mm.progress import progress_bar
from nextvid_mm.registry import SCOPE

WORLD = Path(__file__).parent
FINE = '-8x8'
RESULTS = Path('benchmarks/results/worlds')
_FULL, _FINE = f'{ABLATIONS}/table2_full.py', 'configs/nextvid/vit-tiny_8x8.py'
_VIDEOS = 'train_dataloader.dataset.sources.0.dataset.pipeline'
_MASKS = 'train_dataloader.dataset.pipeline.1.strategies'
_MOTION = (('model.head.motion', 0.9), ('model.align_head.motion', 0.9))
_RESIDUAL = (('model.target_generator.residual', True), ('model.target_generator.std', 0.25))
_WARM_UP = ('train_dataloader.dataset.pipeline.1.unmasked_clips', 2400)
_STAGES = 'train_cfg.stages'
_CLIP_NORM = ('model.align_head.normalize_target', 'clip')


def _row(name: str, title: str, *options: tuple[str, Any], config: str = _FULL) -> Row:
    return Row(name, title, config, options=options)


ROWS = (
    Row('untrained', 'untrained', None),
    _row('full', 'full method'),
    _row('no-masking', 'no masking', config=f'{ABLATIONS}/extra_no-masking.py'),
    _row('next-frame', 'next-frame regression', config=f'{BASELINES}/next-frame_demo.py'),
    _row('no-alignment', 'no alignment', config=f'{ABLATIONS}/table2_generation-isolation.py'),
    _row('residual', 'residual targets', *_RESIDUAL),
    _row('patch-norm', 'targets normalised by patch', ('model.target_generator.norm_pix', True)),
    _row('motion', '0.9 of both losses where something moves', *_MOTION),
    _row('motion-flow', '0.9 of the flow loss where something moves', _MOTION[0]),
    _row(
        'motion-no-masking', '0.9 where something moves, no masking', *_MOTION,
        config=f'{ABLATIONS}/extra_no-masking.py',
    ),
    _row(
        'lighter-masks', 'lighter masks', (f'{_MASKS}.0.scale', 0.1), (f'{_MASKS}.1.scale', 0.25)
    ),
    _row('clip-norm', 'reference normalised by clip', _CLIP_NORM),
    _row('motion-clip-norm', '0.9 of both, reference normalised by clip', *_MOTION, _CLIP_NORM),
    _row(
        'motion-flow-clip-norm', '0.9 of the flow loss, reference normalised by clip',
        _MOTION[0], _CLIP_NORM,
    ),
    _row(
        'motion-flow-clip-norm-no-masking',
        '0.9 of the flow loss, reference normalised by clip, no masking',
        _MOTION[0], _CLIP_NORM, config=f'{ABLATIONS}/extra_no-masking.py',
    ),
    _row(
        'motion-flow-clip-norm-weak-no-masking',
        '0.9 of the flow loss, reference normalised by clip, 0.2 of the alignment, no masking',
        _MOTION[0], _CLIP_NORM, ('model.align_head.loss_weight', 0.2),
        config=f'{ABLATIONS}/extra_no-masking.py',
    ),
    _row(
        'motion-flow-clip-norm-one-unmasked',
        '0.9 of the flow loss, reference normalised by clip, one of the two passes unmasked',
        _MOTION[0], _CLIP_NORM, (f'{_MASKS}.0.num_blocks', 0),
    ),
    _row(
        'motion-flow-clip-norm-strong-no-masking',
        '0.9 of the flow loss, reference normalised by clip, 3 times the alignment, no masking',
        _MOTION[0], _CLIP_NORM, ('model.align_head.loss_weight', 3.0),
        config=f'{ABLATIONS}/extra_no-masking.py',
    ),
    _row('half-speed', '4 frames per second', (f'{_VIDEOS}.1.fps', 4)),
    _row('mask-warm-up', 'no masks for 150 steps', _WARM_UP),
    _row('late-reference', 'EMA of 0.9 in the warm-up', (f'{_STAGES}.0.ema_momentum', 0.9)),
    _row('weak-alignment', 'a tenth of the alignment', ('model.align_head.loss_weight', 0.1)),
    Row('untrained-8x8', 'untrained, 8 x 8 patches', None),
    _row('full-8x8', 'full method, 8 x 8 patches', config=_FINE),
)  # fmt: skip
#: Labels a class (None: all), and epochs of the attentive probe.
LABELS: dict[int | None, int] = {10: 100, 100: 40, None: 20}
_RATES, _DECAY, _BATCH, _NEIGHBOURS = (5e-3, 3e-3, 1e-3, 3e-4), 0.1, 48, 10


def world_config(row: Row, folder: Path) -> Path:
    """Write a row's config on the videos of this world; returns its path."""
    base, path = folder / f'{row.name}_demo.py', folder / f'{row.name}.py'
    text = (WORLD / 'pretrain.py').read_text(encoding='utf-8')
    before, after = text.split("'../../configs/nextvid/vit-tiny_demo.py'")
    config = find_config(str(row.config)).resolve()
    write_text(base, at_demo_scale(config).replace("'./", f"'{config.parent.as_posix()}/"))
    write_text(path, f'{before}{str(base.resolve())!r}{after}')
    return path


def videos_folder() -> Path:
    """The folder in use."""
    return Path(os.environ.get('BODIES', 'data/bodies'))


def floor_contrast() -> float:
    """Of the folder in use, as its ``spec.txt`` has it."""
    spec = videos_folder() / 'spec.txt'
    words = dict(line.split() for line in spec.read_text(encoding='utf-8').splitlines())
    return float(words['contrast'])


def check_results(results: Path, rows: Sequence[Row]) -> None:
    """Refuse a folder of results of other videos, or of a row that has changed since.

    Raises:
        ValueError: naming the file, what it has and what is asked for.
    """
    clips = {
        f'clips_{split}': len((videos_folder() / f'how/{split}.txt').read_text().splitlines())
        for split in ('train', 'val')
    }
    settings = {row.name: dict(config=row.config, options=dict(row.options)) for row in rows}
    for path in sorted(results.glob('*.json')):
        record = json.loads(path.read_text(encoding='utf-8'))
        for key, value in (clips | settings.get(record['row'], {})).items():
            if record[key] != value:
                raise ValueError(
                    f'{path} has {key}={record[key]!r}, asked for is {value!r}: results of one '
                    'table must be of the same videos and settings; use another --results'
                )


def pretrain(row: Row, seed: int, scale: float, work_dir: Path) -> dict[str, Any]:
    """Train a row; returns its last encoder's file, its costs, losses and the curve of its rank."""
    config = world_config(row, work_dir)
    run = Run(
        work_dir, Row(row.name, row.title, str(config), options=row.options), seed, Budget(scale)
    )
    with progress_bar('steps', speed_estimate_period=600.0) as bar:
        run.pretrain(bar, bar.add_task('all', total=run.table_steps))
    (note,) = (run.folder / FOLDER).glob(f'step_{run.table_steps}.json')
    return dict(
        encoder=str(note.with_suffix('.pth')),
        **json.loads(note.read_text(encoding='utf-8')),
        ranks=rank_curve(run.folder),
    )


class World:
    """Clips of this world, decoded once, with the labels of both questions."""

    def __init__(self) -> None:
        self.config = Config.fromfile(WORLD / 'probe_how.py')
        self.clips: dict[str, Tensor] = {}
        self.labels: dict[str, dict[str, Tensor]] = {question: {} for question in QUESTIONS}
        for split in ('train', 'val'):
            settings = cached_dataset(self.config, split)
            for question in QUESTIONS:
                path = f'{self.config.root}{question}/{split}.txt'
                lines = Path(path).read_text(encoding='utf-8').splitlines()
                labels = torch.tensor([int(line.split()[1]) for line in lines])
                self.labels[question][split] = labels
            settings['dataset']['ann_file'] = path
            self.clips[split], _ = load_clips(settings, len(lines))

    @torch.no_grad()
    def tokens(self, encoder: str | None, seed: int, backbone: str) -> dict[str, Tensor]:
        """Tokens ``(n, N, C)`` by split; without a file, of random weights of a config."""
        torch.manual_seed(seed)
        config, weights = self.config, 'encoder'
        if encoder is None:
            config, weights = config.copy(), 'untrained'
            config.model.backbone = Config.fromfile(find_config(backbone)).model.backbone
        probe = build_probe(config, encoder, encoder_weights=weights).eval()
        return {
            split: torch.cat(
                [
                    next(iter(probe.views_of_batch(dict(inputs=list(p[:, None]), data_samples=[]))))
                    for p in clips.split(32)
                ]
            ).float()
            for split, clips in self.clips.items()
        }

    def probe(self, tokens: Mapping[str, Tensor], seed: int) -> dict[str, Any]:
        """All probes of one encoder, accuracies in %."""
        result: dict[str, Any] = {}
        means = {split: part.mean(1) for split, part in tokens.items()}
        for question in QUESTIONS:
            known, asked = (self.labels[question][split] for split in ('train', 'val'))
            found: dict[str, Any] = {
                'k-NN': knn_accuracy(means['train'], known, means['val'], asked, _NEIGHBOURS),
                'linear': linear_accuracy(means['train'], known, means['val'], asked),
            }
            for most, epochs in LABELS.items():
                chosen = first_of_each(known, most)
                answers = attentive(
                    tokens['train'][chosen], known[chosen], tokens['val'], asked, epochs, seed
                )
                right = (answers == asked).float().mean(1) * 100
                found['all' if most is None else str(most)] = float(right.max())
                if most is None:
                    found['answers'] = ''.join(map(str, answers[right.argmax()].tolist()))
            result[question] = found
        return result | dict(rank=effective_rank(tokens['val'][:, ::8]))


def first_of_each(labels: Tensor, most: int | None) -> Tensor:
    """Rows of the first ``most`` samples of every class; None takes all."""
    if most is None:
        return torch.arange(len(labels))
    seen = torch.nn.functional.one_hot(labels).cumsum(0).gather(1, labels[:, None])[:, 0]
    return (seen <= most).nonzero()[:, 0]


def attentive(
    tokens: Tensor, labels: Tensor, asked: Tensor, truth: Tensor, epochs: int, seed: int
) -> Tensor:
    """Answers ``(members, n)`` of a grid of attentive probes, the project's, after a cosine."""
    torch.manual_seed(seed)
    head = ProbeHead(int(truth.max()) + 1, tokens.shape[2], lrs=_RATES, weight_decays=[_DECAY])
    head.standardizer.fit(tokens)
    members = head.members
    optimizer = GridAdamW(
        [p for p in head.parameters() if p.requires_grad],
        [member.lr for member in members],
        [member.weight_decay for member in members],
    )
    steps = epochs * -(-len(tokens) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    head.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(tokens)).split(_BATCH):
            optimizer.zero_grad()
            logits = head(tokens[rows])
            sum(
                nn.functional.cross_entropy(one, labels[rows]) for one in logits.unbind(1)
            ).backward()
            optimizer.step()
            schedule.step()
    head.eval()
    with torch.no_grad():
        return torch.cat([head(part).argmax(-1) for part in asked.split(64)]).T


def compare(rows: Sequence[Row], seed: int, scale: float, work_dir: Path, results: Path) -> None:
    """Run and probe the rows that have no result yet."""
    init_default_scope(SCOPE)
    torch.set_num_threads(1)
    check_results(results, rows)
    world, contrast = None, floor_contrast()
    floor = '' if contrast == 1 else f'_floor-{contrast:g}'
    for row in rows:
        trained = row.config is not None
        length = f'_x{scale:g}' if trained else ''
        path = results / f'{row.name}{length}{floor}_seed_{seed}.json'
        if path.is_file():
            continue
        record = pretrain(row, seed, scale, work_dir / f'x{scale:g}{floor}') if trained else {}
        world = world or World()
        backbone = _FINE if row.name.endswith(FINE) else PRETRAIN
        tokens = world.tokens(record.pop('encoder', None), seed, backbone)
        record = dict(
            row=row.name, title=row.title, contrast=contrast, seed=seed,
            steps_scale=scale if trained else 0,
            config=row.config, options=dict(row.options),
            clips_train=len(tokens['train']), clips_val=len(tokens['val']),
            **record, **world.probe(tokens, seed), machine=machine(),
        )  # fmt: skip
        results.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(record, indent=1) + '\n')
        print(f'{row.title}, seed {seed}: how {record["how"]["all"]:.1f} %', flush=True)


def paired(mine: str, base: str, truth: Sequence[int]) -> tuple[float, float]:
    """Difference of two accuracies over the same clips, and half of its 95 % interval, in points.

    Args:
        mine: answers, a digit for each clip.
        base: those compared with.
        truth: labels.
    """
    right = np.array([[int(a) == t for a, t in zip(part, truth, strict=True)]
                      for part in (mine, base)], dtype=float)  # fmt: skip
    change = 100 * (right[0] - right[1])
    return float(change.mean()), float(1.96 * change.std(ddof=1) / len(change) ** 0.5)


def validation_labels() -> dict[str, Sequence[int]]:
    """Labels of the validation clips by question."""
    spec = WorldSpec()
    labels = [spec.labels(index) for index in range(spec.num_val)]
    return dict(zip(QUESTIONS, zip(*labels, strict=True), strict=True))


def markdown(results: Path, truth: Mapping[str, Sequence[int]]) -> str:
    """The table of all results in a folder, with differences to untrained, clip by clip.

    Args:
        results: folder of the JSON files.
        truth: labels of the validation clips by question.
    """
    records = [json.loads(path.read_text(encoding='utf-8')) for path in results.glob('*.json')]
    names = [row.name for row in ROWS]
    records.sort(key=lambda r: (-r['contrast'], r['steps_scale'], names.index(r['row']), r['seed']))
    bases = {(r['row'], r['contrast'], r['seed']): r for r in records}
    head = ['floor', 'row', 'steps', 'seed']
    for question in QUESTIONS:
        head += [f'{question}, k-NN', 'linear', '10', '100', 'all', 'to untrained']
    lines = [[*head, 'rank'], ['---'] * (len(head) + 1)]
    for r in records:
        plain = f'untrained{FINE if r["row"].endswith(FINE) else ""}'
        base = bases.get((plain, r['contrast'], r['seed']))
        cells = [f'{r["contrast"]:g}', r['title'], str(r.get('step', 0)), str(r['seed'])]
        for question in QUESTIONS:
            kinds = ('k-NN', 'linear', '10', '100', 'all')
            cells += [f'{r[question][kind]:.1f}' for kind in kinds]
            if base is None or base is r:
                cells.append('–')
                continue
            answers = (one[question]['answers'] for one in (r, base))
            change, half = paired(*answers, truth[question][: r['clips_val']])
            cells.append(f'{change:+.1f} ± {half:.1f}')
        lines.append([*cells, f'{r["rank"]:.1f}'])
    return ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)


def main(words: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser('python -m benchmarks.worlds.compare', description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument('--rows', nargs='+', choices=names, default=names)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--steps-scale', type=float, default=1.0, help='factor on all steps')
    parser.add_argument(
        '--videos', help='folder of python -m benchmarks.worlds (default: data/bodies)'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/worlds'))
    parser.add_argument('--results', type=Path, default=RESULTS)
    parser.add_argument('--no-run', action='store_true', help='print the table of what is there')
    args = parser.parse_args(words)
    if args.videos:
        os.environ['BODIES'] = args.videos  # what the configs read, here and in children
    rows = [row for name in args.rows for row in ROWS if row.name == name]
    for seed in () if args.no_run else args.seeds:
        compare(rows, seed, args.steps_scale, args.work_dir, args.results)
    print(markdown(args.results, validation_labels()), end='')


if __name__ == '__main__':
    main()
