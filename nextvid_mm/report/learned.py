"""Looks into a trained encoder: maps of its features, attention of a probe, generated frames.

Shape legend: n clips, T frames (tubelets), H and W patches, C channels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint, set_random_seed
from PIL import Image
from torch import Tensor, nn

from nextvid_mm.evaluation.cached_probe import (
    FeatureSet,
    ProbeSchedule,
    evaluate_probes,
    extract_features,
    train_probes,
)
from nextvid_mm.evaluation.generation import GenerationMetrics, generation_metrics
from nextvid_mm.evaluation.protocol import build_probe, innermost_dataset, load_batches, quiet
from nextvid_mm.registry import MODELS, SCOPE
from nextvid_mm.visualization.attention_maps import overlay_attention
from nextvid_mm.visualization.feature_map import project
from nextvid_mm.visualization.sheets import tile_rows

_MAP_CLIPS = 400
_GENERATED_CLIPS = 48
_ATTENTION_CLIPS = 4


@dataclass(frozen=True)
class Insight:
    """What was seen of one checkpoint.

    Attributes:
        maps: title and points ``(n, 2)`` of the trained and of an untrained encoder.
        labels: class of each point.
        names: names of the classes.
        attention: film strips with the attention of a probe.
        top1: accuracy of that one probe, %.
        generation: metrics of generated next frames; None without a decoder that gives pictures.
        model: the whole pretrained model.
    """

    maps: list[tuple[str, np.ndarray]]
    labels: list[int]
    names: list[str]
    attention: Image.Image
    top1: float
    generation: GenerationMetrics | None
    model: nn.Module


def load_model(config: Config, checkpoint: Path) -> nn.Module:
    """Build a pretraining model and load all of its weights."""
    model = MODELS.build(dict(config.model, _scope_=SCOPE))
    with quiet():
        load_checkpoint(model, str(checkpoint), map_location='cpu', strict=True, logger='silent')
    return model.eval()


def look_into(config: Config, checkpoint: Path, probe_config: Config) -> Insight:
    """Examine a checkpoint on the labelled videos of a probe config.

    Args:
        config: the pretraining's config.
        checkpoint: its checkpoint.
        probe_config: whose training and validation videos are used.
    """
    single = _with_one_probe(probe_config)
    train, val = load_batches(single)
    probe, features = _trained_probe(single, checkpoint, train, val)
    untrained = build_probe(single, str(checkpoint), encoder_weights='untrained')
    maps = [
        (title, project(_pooled(part)))
        for title, part in (
            ('pretrained', features),
            ('untrained', extract_features(untrained, val)),
        )
    ]
    labels = features.labels.tolist()
    model = load_model(config, checkpoint)
    clips = torch.cat(
        [model.data_preprocessor(dict(batch), training=False)['inputs'].flatten(0, 1)
         for batch in val[:2]]
    )  # fmt: skip
    members = evaluate_probes(probe, features)['members']
    return Insight(
        maps=maps,
        labels=labels[:_MAP_CLIPS],
        names=_class_names(probe_config, max(labels) + 1),
        attention=attention_strips(probe, clips[:_ATTENTION_CLIPS], features, model),
        top1=next(iter(_values(members)))['merged']['top1'],
        generation=_generation(model, clips, labels),
        model=model,
    )


def attention_strips(
    probe: nn.Module, clips: Tensor, features: FeatureSet, model: nn.Module
) -> Image.Image:
    """Clips, and under each the same frames coloured by where the probe looks (mean of heads)."""
    head, backbone = probe.cls_head, model.backbone
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
    return tile_rows(rows, zoom=1)


def _with_one_probe(config: Config) -> Config:
    """The config with the middle of its grid only, which trains in no time."""
    single = copy.deepcopy(config)
    for key in ('lrs', 'weight_decays'):
        values = list(single.model.cls_head.get(key) or [1e-3 if key == 'lrs' else 0.1])
        single.model.cls_head[key] = [values[0 if key == 'lrs' else len(values) // 2]]
    single.model.cls_head.fixed_member = None
    return single


def _trained_probe(
    config: Config, checkpoint: Path, train: list[dict], val: list[dict]
) -> tuple[nn.Module, FeatureSet]:
    set_random_seed(0)
    probe = build_probe(config, str(checkpoint))
    schedule = ProbeSchedule(config.train_cfg.max_epochs, config.train_dataloader.batch_size)
    train_probes(probe, extract_features(probe, train), schedule)
    probe.cls_head.eval()
    return probe, extract_features(probe, val)


def _pooled(features: FeatureSet) -> np.ndarray:
    """Means and deviations over a clip's tokens ``(n, 2 * C)``: a deviation shows that it moves."""
    tokens = features.tokens[:_MAP_CLIPS, 0].float()
    return torch.cat([tokens.mean(1), tokens.std(1)], dim=-1).cpu().numpy()


def _generation(model: nn.Module, clips: Tensor, labels: list[int]) -> GenerationMetrics | None:
    if getattr(model, 'head', None) is None or not hasattr(model.head, 'sample'):
        return None
    count = min(_GENERATED_CLIPS, len(clips))
    return generation_metrics(model, clips[:count], labels[:count])


def _class_names(config: Config, count: int) -> list[str]:
    """Names from ``label_map.txt`` beside the list file, else numbers."""
    path = Path(innermost_dataset(config.val_dataloader.dataset).ann_file).parent / 'label_map.txt'
    names = path.read_text(encoding='utf-8').split('\n') if path.is_file() else []
    names = [name.strip() for name in names if name.strip()]
    return names if len(names) >= count else [str(label) for label in range(count)]


def _values(members: Any) -> list[dict]:
    return list(members.values()) if isinstance(members, dict) else list(members)
