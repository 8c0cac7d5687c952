"""Looks into a trained model: maps of its features, attention of a probe, generated frames.

Shape legend: n clips, T frames (tubelets), H and W patches, C channels.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint, set_random_seed
from PIL import Image
from torch import Tensor, nn

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.evaluation.cached_probe import (
    FeatureSet,
    ProbeSchedule,
    evaluate_probes,
    extract_features,
    train_probes,
)
from nextvid_mm.evaluation.generation import GenerationMetrics, generation_metrics
from nextvid_mm.evaluation.protocol import build_probe, innermost_dataset, quiet
from nextvid_mm.models.algorithms.rollout import roll_out, run_context
from nextvid_mm.registry import MODELS, SCOPE
from nextvid_mm.visualization.attention_maps import overlay_attention
from nextvid_mm.visualization.feature_map import project
from nextvid_mm.visualization.sheets import draw_sheet, tile_rows

_MAP_CLIPS = 400
_ATTENTION_CLIPS = 4
_SHEET_CLIPS = 3
_ROLLOUT = 16  # tubelets


@dataclass(frozen=True)
class FeatureInsight:
    """What the features of one checkpoint look like.

    Attributes:
        maps: title and points ``(n, 2)`` of the trained and of an untrained encoder.
        labels: class of each point.
        names: names of the classes.
        attention: film strips with the attention of a probe.
        top1: accuracy of that one probe, %.
    """

    maps: list[tuple[str, np.ndarray]]
    labels: list[int]
    names: list[str]
    attention: Image.Image
    top1: float


@dataclass(frozen=True)
class GenerationInsight:
    """What a checkpoint generates.

    Attributes:
        metrics: on the moving region.
        sheet: original, masked and generated frames.
        names: names of the labels.
    """

    metrics: GenerationMetrics
    sheet: Image.Image
    names: list[str]


@dataclass(frozen=True)
class RolloutCost:
    """Seconds that a roll-out of one clip takes.

    Attributes:
        context: tubelets it starts from.
        tubelets: generated tubelets.
        num_steps: solver steps per tubelet.
        cached: with the key/value cache.
        recomputed: with all frames encoded again for each new one.
        cached_context: of the former, encoder and predictor alone.
        recomputed_context: the same without the cache.
    """

    context: int
    tubelets: int
    num_steps: int
    cached: float
    recomputed: float
    cached_context: float
    recomputed_context: float

    @property
    def advantage(self) -> float:
        """How many times faster encoder and predictor are with the cache."""
        return self.recomputed_context / self.cached_context


def load_model(config: Config, checkpoint: Path) -> nn.Module:
    """Build a pretraining model and load all of its weights."""
    model = MODELS.build(dict(config.model, _scope_=SCOPE))
    with quiet():
        load_checkpoint(model, str(checkpoint), map_location='cpu', strict=True, logger='silent')
    return model.eval()


def look_at_features(
    backbone: nn.Module, checkpoint: Path, config: Config, batches: tuple[list[dict], list[dict]]
) -> FeatureInsight:
    """Map the features of a checkpoint and train one probe on them.

    Args:
        backbone: the checkpoint's encoder, for its token grid.
        checkpoint: the file.
        config: probe config; one probe of its grid is trained.
        batches: of its training and validation videos.
    """
    single = with_one_probe(config)
    train, val = batches
    set_random_seed(0)
    probe = build_probe(single, str(checkpoint))
    schedule = ProbeSchedule(single.train_cfg.max_epochs, single.train_dataloader.batch_size)
    train_probes(probe, extract_features(probe, train), schedule)
    probe.cls_head.eval()
    features = extract_features(probe, val)
    untrained = build_probe(single, str(checkpoint), encoder_weights='untrained')
    labels = features.labels.tolist()
    (member,) = evaluate_probes(probe, features)['members']
    return FeatureInsight(
        maps=[
            ('pretrained', project(pooled(features))),
            ('untrained', project(pooled(extract_features(untrained, val)))),
        ],
        labels=labels[:_MAP_CLIPS],
        names=class_names(config, max(labels) + 1),
        attention=attention_strips(
            probe, clips_of(probe, val, _ATTENTION_CLIPS), features, backbone
        ),
        top1=member['merged']['top1'],
    )


def look_at_generation(
    model: nn.Module,
    clips: Tensor,
    labels: Sequence[int],
    names: list[str],
    masking: FrameIsolatedMasking | None,
) -> GenerationInsight | str:
    """Generate next frames and compare them with the truth.

    Args:
        model: a pretraining model in evaluation mode.
        clips: ``(n, 3, T_video, height, width)`` in [-1, 1].
        labels: one per clip.
        names: of the labels.
        masking: of the training, for the sheet; None shows all patches and generates all.

    Returns:
        What was generated, or one sentence that says why nothing can be shown.
    """
    if not (hasattr(model, 'generate') and hasattr(getattr(model, 'head', None), 'sample')):
        return 'The model has no decoder that generates frames.'
    masking = masking or FrameIsolatedMasking(
        model.backbone.img_size, model.backbone.patch_size, 'none'
    )
    rng = np.random.default_rng(0)
    samples = [SimpleNamespace(masks=masking.sample(rng)) for _ in range(_SHEET_CLIPS)]
    try:
        metrics = generation_metrics(model, clips, labels)
        sheet = draw_sheet(model, clips[:_SHEET_CLIPS], samples[: len(clips)])
    except ValueError as error:  # targets that are no pictures say so themselves
        return f'Nothing can be shown: {error}'
    return GenerationInsight(metrics, sheet, names)


def measure_rollout(model: nn.Module, clip: Tensor, num_steps: int = 20) -> RolloutCost:
    """Time a roll-out from one clip with and without cache.

    Args:
        model: a ``NextVid`` that generates.
        clip: ``(1, 3, T_video, height, width)`` in [-1, 1].
        num_steps: solver steps per tubelet.
    """

    def whole(use_cache: bool) -> None:
        list(roll_out(model, clip, _ROLLOUT, [0], num_steps, use_cache=use_cache))

    def context(use_cache: bool) -> None:
        run_context(model, clip, _ROLLOUT, use_cache)

    context(True)  # the first pass of a shape is slower
    return RolloutCost(
        context=model.backbone.grid_of(clip).frames,
        tubelets=_ROLLOUT,
        num_steps=num_steps,
        cached=_seconds(lambda: whole(True)),
        recomputed=_seconds(lambda: whole(False)),
        cached_context=_seconds(lambda: context(True)),
        recomputed_context=_seconds(lambda: context(False)),
    )


def attention_strips(
    probe: nn.Module, clips: Tensor, features: FeatureSet, backbone: nn.Module
) -> Image.Image:
    """Clips, and under each the same frames coloured by where the probe looks (mean of heads)."""
    head = probe.cls_head
    tokens = features.tokens[: len(clips), 0]
    standard = head.standardizer(tokens) if head.standardizer is not None else tokens
    grid = backbone.grid_of(clips)
    weights = head.probes.attention(standard)[:, 0].mean(1)
    rows = []
    for number, clip in enumerate(clips):
        attention = weights[number].detach().view(-1, grid.frames, grid.height, grid.width).mean(0)
        plain = clip[:, backbone.tubelet_size - 1 :: backbone.tubelet_size]
        rows += [
            (f'{number}: video', plain),
            (f'{number}: attention', overlay_attention(clip, attention, backbone.tubelet_size)),
        ]
    return tile_rows(rows, gap=2)


def clips_of(model: nn.Module, batches: Sequence[dict], count: int) -> Tensor:
    """The first clips ``(n, 3, T_video, height, width)`` of some batches, preprocessed."""
    parts: list[Tensor] = []
    for batch in batches:
        data = model.data_preprocessor(dict(batch), training=False)
        parts.append(data['inputs'][:, 0])
        if sum(map(len, parts)) >= count:
            break
    return torch.cat(parts)[:count]


def with_one_probe(config: Config) -> Config:
    """The config with one probe, of the first learning rate and the middle weight decay."""
    single = copy.deepcopy(config)
    for key in ('lrs', 'weight_decays'):
        values = list(single.model.cls_head.get(key) or [1e-3 if key == 'lrs' else 0.1])
        single.model.cls_head[key] = [values[0 if key == 'lrs' else len(values) // 2]]
    single.model.cls_head.fixed_member = None
    return single


def pooled(features: FeatureSet) -> np.ndarray:
    """Means and deviations over a clip's tokens ``(n, 2 * C)``: a deviation shows that it moves."""
    tokens = features.tokens[:_MAP_CLIPS, 0].float()
    return torch.cat([tokens.mean(1), tokens.std(1)], dim=-1).cpu().numpy()


def class_names(config: Config, count: int) -> list[str]:
    """Names from ``label_map.txt`` beside the list file, else numbers."""
    path = Path(innermost_dataset(config.val_dataloader.dataset).ann_file).parent / 'label_map.txt'
    names = path.read_text(encoding='utf-8').split('\n') if path.is_file() else []
    names = [name.strip() for name in names if name.strip()]
    return names if len(names) >= count else [str(label) for label in range(count)]


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
