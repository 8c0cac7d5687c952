"""Looks into a trained model: maps of its features, attention of a probe, generated frames.

Shape legend: n clips, T frames (tubelets), H and W patches, C channels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint, set_random_seed
from PIL import Image
from torch import Tensor, nn

from nextvid_mm.datasets.checks import list_file_of
from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.engine.probe.cached_probe import (
    FeatureSet,
    ProbeSchedule,
    evaluate_parts,
    extract_features,
    train_probes,
)
from nextvid_mm.engine.probe.protocol import build_probe, innermost_dataset, quiet
from nextvid_mm.evaluation.generation import GenerationMetrics, generation_metrics
from nextvid_mm.registry import MODELS, SCOPE
from nextvid_mm.visualization.figures import project
from nextvid_mm.visualization.sheets import draw_sheet, overlay_attention, tile_rows

_MAP_CLIPS = 400
_ATTENTION_CLIPS = 4
_SHEET_CLIPS = 3
_TOKEN_BYTES = 2**31  # of the videos that the probe trains on
_BATCH_BYTES = 2**28  # and of those in one of its steps


@dataclass(frozen=True)
class FeatureInsight:
    """What the features of one checkpoint look like.

    Attributes:
        maps: title and points ``(n, 2)`` of the trained and of an untrained encoder.
        labels: class of each point.
        names: names of the classes.
        attention: film strips with the attention of a probe.
        top1: accuracy of that one probe, %.
        trained_on: videos it was trained on.
    """

    maps: list[tuple[str, np.ndarray]]
    labels: list[int]
    names: list[str]
    attention: Image.Image
    top1: float
    trained_on: int


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


def load_model(config: Config, checkpoint: Path, device: str = 'cpu') -> nn.Module:
    """Build a pretraining model on a device and load all of its weights."""
    model = MODELS.build(dict(config.model, _scope_=SCOPE))
    with quiet():
        load_checkpoint(model, str(checkpoint), map_location='cpu', strict=True, logger='silent')
    return model.eval().to(device)


def look_at_features(
    backbone: nn.Module,
    checkpoint: str | Path,
    config: Config,
    batches: tuple[Iterable[dict], Iterable[dict]],
) -> FeatureInsight:
    """Map the features of a checkpoint and train one probe on them.

    Memory is bounded, whatever the encoder: batches are taken one by one, each split once, and the
    probe trains on as many videos as have 2 GiB of tokens.

    Args:
        backbone: the checkpoint's encoder, for its token grid and its device.
        checkpoint: the file.
        config: probe config; one probe of its grid is trained.
        batches: of its training and validation videos, lists or data loaders.
    """
    single, device = with_one_probe(config), next(backbone.parameters()).device
    train, val = batches
    set_random_seed(0)
    probe = build_probe(single, str(checkpoint)).to(device)
    features = extract_features(probe, train, _TOKEN_BYTES)
    trained_on = len(features.labels)
    video_bytes = features.tokens.nbytes / trained_on
    batch_size = min(single.train_dataloader.batch_size, math.ceil(_BATCH_BYTES / video_bytes))
    train_probes(probe, features, ProbeSchedule(single.train_cfg.max_epochs, batch_size))
    del features
    probe.cls_head.eval()
    untrained = build_probe(single, str(checkpoint), encoder_weights='untrained').to(device)
    seen = _Seen(probe, untrained, backbone)
    (member,) = evaluate_parts(probe, seen.look_at(val))['members']
    return FeatureInsight(
        maps=[(name, project(np.concatenate(rows)[:_MAP_CLIPS])) for name, rows in seen.maps],
        labels=seen.labels[:_MAP_CLIPS],
        names=class_names(config, max(seen.labels) + 1),
        attention=seen.attention,
        top1=member['merged']['top1'],
        trained_on=trained_on,
    )


class _Seen:
    """Keeps of the validation videos, as they go by, what is small enough to be kept."""

    attention: Image.Image

    def __init__(self, probe: nn.Module, untrained: nn.Module, backbone: nn.Module) -> None:
        self.probe, self.untrained, self.backbone = probe, untrained, backbone
        self.labels: list[int] = []
        self.maps: list[tuple[str, list[np.ndarray]]] = [('pretrained', []), ('untrained', [])]

    def look_at(self, batches: Iterable[dict]) -> Iterator[FeatureSet]:
        """Pass on the probe's features batch by batch."""
        for batch in batches:
            part = extract_features(self.probe, [batch])
            if not self.labels:
                clips, _ = clips_of(self.probe, [batch], _ATTENTION_CLIPS)
                self.attention = attention_strips(self.probe, clips, part, self.backbone)
            if len(self.labels) < _MAP_CLIPS:
                for (_, rows), found in zip(
                    self.maps, (part, extract_features(self.untrained, [batch])), strict=True
                ):
                    rows.append(pooled(found))
            self.labels += part.labels.tolist()
            yield part


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
    masking = masking or FrameIsolatedMasking(model.backbone.patch_size, 'none')
    grid = masking.grid_of(clips.shape[-2:])
    rng = np.random.default_rng(0)
    samples = [SimpleNamespace(masks=masking.sample(grid, rng)) for _ in range(_SHEET_CLIPS)]
    try:
        metrics = generation_metrics(model, clips, labels)
        sheet = draw_sheet(model, clips[:_SHEET_CLIPS], samples[: len(clips)])
    except ValueError as error:  # targets that are no pictures say so themselves
        return f'Nothing can be shown: {error}'
    return GenerationInsight(metrics, sheet, names)


def attention_strips(
    probe: nn.Module, clips: Tensor, features: FeatureSet, backbone: nn.Module
) -> Image.Image:
    """Clips, and under each the same frames coloured by where the probe looks (mean of heads).

    Args:
        probe: a ``ProbeRecognizer``.
        clips: ``(n, 3, T_video, height, width)``, the first segment of the first videos.
        features: of these videos, and maybe of more.
        backbone: the encoder, for its token grid.
    """
    head = probe.cls_head
    tokens = features.tokens[: len(clips), 0]
    standard = head.standardizer(tokens) if head.standardizer is not None else tokens
    grid = backbone.grid_of(clips)
    weights = head.probes.attention(standard)[:, 0].mean(1)
    rows = []
    for number, clip in enumerate(clips.cpu()):
        layers = weights[number].detach().view(-1, grid.frames, grid.height, grid.width)
        attention = layers[: probe.last_layers].mean(0).cpu()  # of the first segment
        plain = clip[:, backbone.tubelet_size - 1 :: backbone.tubelet_size]
        rows += [
            (f'{number}: video', plain),
            (f'{number}: attention', overlay_attention(clip, attention, backbone.tubelet_size)),
        ]
    return tile_rows(rows, gap=2)


def clips_of(model: nn.Module, batches: Iterable[dict], count: int) -> tuple[Tensor, list[int]]:
    """The first clips of some batches, preprocessed, and their labels.

    Args:
        model: its data preprocessor is applied.
        batches: lists or data loaders; no more of them are read than needed.
        count: how many, at most.

    Returns:
        ``(n, 3, T_video, height, width)``, of each video the first clip, and n labels.
    """
    parts: list[Tensor] = []
    labels: list[int] = []
    for batch in batches:
        first = dict(batch, inputs=[clips[:1] for clips in batch['inputs']])
        parts.append(model.data_preprocessor(first, training=False)['inputs'][:, 0])
        labels += [int(sample.gt_label) for sample in batch['data_samples']]
        if len(labels) >= count:
            break
    return torch.cat(parts)[:count], labels[:count]


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
    path = Path(list_file_of(innermost_dataset(config.val_dataloader.dataset)))
    path = path.with_name('label_map.txt') if path.name else path
    names = path.read_text(encoding='utf-8').split('\n') if path.is_file() else []
    names = [name.strip() for name in names if name.strip()]
    return names if len(names) >= count else [str(label) for label in range(count)]
