"""Looks into a trained model: maps of its features, attention of a probe, generated frames.

Shape legend: n clips, T tubelets, H and W patches, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import set_random_seed
from PIL import Image
from torch import Tensor, nn

from nextvid_mm.data_checks import label_names, list_file_of
from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.engine.probe.features import innermost_dataset
from nextvid_mm.engine.probe.training import build_probe
from nextvid_mm.evaluation.generation import GenerationMetrics, generation_metrics
from nextvid_mm.layers import BatchMask, ClipBatch, load_exactly
from nextvid_mm.models.checkpoints import read_checkpoint
from nextvid_mm.registry import MODELS, SCOPE, require_registered
from nextvid_mm.visualization.figures import FEWEST, project
from nextvid_mm.visualization.sheets import draw_sheet, overlay_attention, tile_rows

from .probes import find_probe

_MAP_CLIPS = 400
_ATTENTION_CLIPS = 4
_SHEET_CLIPS = 3


@dataclass(frozen=True)
class FeatureInsight:
    """What the features of one checkpoint look like.

    Attributes:
        maps: title and points ``(n, 2)`` of the trained and of an untrained encoder; none of fewer
            than four clips.
        labels: class of each point.
        names: names of the classes.
        attention: film strips with the attention of the trained probe; None if there is none.
        top1: accuracy of that probe, %.
        probe: its file.
    """

    maps: list[tuple[str, np.ndarray]]
    labels: list[int]
    names: list[str]
    attention: Image.Image | None = None
    top1: float | None = None
    probe: Path | None = None


def load_model(config: Config, checkpoint: Path, device: str = 'cpu') -> nn.Module:
    """Build a pretraining model on a device and load all of its weights."""
    require_registered(config.model, 'the config of the run')
    state = read_checkpoint(checkpoint)['state_dict']
    model = MODELS.build(dict(config.model, _scope_=SCOPE))
    load_exactly(model, state, f'{checkpoint} is not the model that its run records')
    return model.eval().to(device)


@torch.no_grad()
def look_at_features(
    model: nn.Module,
    checkpoint: str | Path,
    config: Config,
    videos: Iterable[dict],
    records: Sequence[Path] = (),
) -> FeatureInsight:
    """Map the features of a checkpoint, and show where its trained probe looks.

    Args:
        model: the checkpoint's model, for its encoders and its device.
        checkpoint: the file.
        config: probe config.
        videos: batches of its validation videos; no more than the map needs are read.
        records: ``probe_results.json`` files, of whose probes the best of this model is shown.
    """
    backbone = model.backbone
    device = next(backbone.parameters()).device
    found = find_probe(records, model, config)
    set_random_seed(0)
    probe = (build_probe(config, str(checkpoint)) if found is None else found[0]).to(device)
    untrained = build_probe(config, str(checkpoint), encoder_weights='untrained').to(device)
    attention = None
    labels: list[int] = []
    maps: list[tuple[str, nn.Module, list[np.ndarray]]]
    maps = [('pretrained', probe, []), ('untrained', untrained, [])]
    for batch in videos:
        for _, encoder, rows in maps:
            tokens = next(encoder.views_of_batch(batch))
            rows.append(pooled(tokens))
            if found is not None and not labels and encoder is probe:
                clips, _ = clips_of(probe, [batch], _ATTENTION_CLIPS)
                attention = attention_strips(probe, clips, tokens, backbone)
        labels += [int(sample.gt_label) for sample in batch['data_samples']]
        if len(labels) >= _MAP_CLIPS:
            break
    mapped = maps if len(labels) >= FEWEST else []
    return FeatureInsight(
        maps=[(name, project(np.concatenate(rows)[:_MAP_CLIPS])) for name, _, rows in mapped],
        labels=labels[:_MAP_CLIPS],
        names=class_names(config, max(labels) + 1),
        attention=attention,
        top1=None if found is None else found[1],
        probe=None if found is None else found[2],
    )


def look_at_generation(
    model: nn.Module,
    clips: Tensor,
    labels: Sequence[int],
    masking: FrameIsolatedMasking | None,
) -> tuple[GenerationMetrics, Image.Image] | str:
    """Generate next frames and compare them with the truth.

    Args:
        model: a pretraining model in evaluation mode.
        clips: ``(n, 3, T_video, height, width)`` in [-1, 1].
        labels: one per clip.
        masking: of the training, for the sheet; None shows all patches and generates all.

    Returns:
        Figures on the moving region and a sheet of original, masked and generated frames; or one
        sentence that says why nothing can be shown.
    """
    head = getattr(model, 'head', None)
    if not (hasattr(model, 'generate') and getattr(head, 'generates', False)):
        return 'The model has no decoder that generates frames.'
    masking = masking or FrameIsolatedMasking(model.backbone.patch_size, 'none')
    grid = masking.grid_of(clips.shape[-2:])
    rng = np.random.default_rng(0)
    shown = clips[:_SHEET_CLIPS]
    drawn = [masking.sample(grid, rng)[0] for _ in shown]
    parts = (torch.stack([mask[key] for mask in drawn]) for key in ('visible', 'hidden'))
    batch = ClipBatch.of([{} for _ in shown], [BatchMask(*(p.to(clips.device) for p in parts))])
    try:
        return generation_metrics(model, clips, labels), draw_sheet(model, shown, batch)
    except ValueError as error:  # targets that are no pictures say so themselves
        return f'Nothing can be shown: {error}'


def attention_strips(
    probe: nn.Module, clips: Tensor, tokens: Tensor, backbone: nn.Module
) -> Image.Image:
    """Clips, and under each the same frames coloured by where the best probe looks (mean of heads).

    Args:
        probe: a ``ProbeRecognizer``.
        clips: ``(n, 3, T_video, height, width)``, the first segment of the first videos.
        tokens: ``(n, N, C)`` of these videos, and maybe of more.
        backbone: the encoder, for its token grid.
    """
    head = probe.cls_head
    tokens = tokens[: len(clips)]
    standard = head.standardizer(tokens) if head.standardizer is not None else tokens
    grid = backbone.grid_of(clips)
    weights = head.probes.attention(standard)[:, int(head.selected)].mean(1)
    rows = []
    for number, clip in enumerate(clips.cpu()):
        layers = weights[number].detach().view(-1, grid.tubelets, grid.height, grid.width)
        attention = layers[: len(probe.layers)].mean(0).cpu()  # of the first segment
        tubelet = backbone.tubelet_size
        rows.append((f'{number}: video', clip[:, tubelet - 1 :: tubelet]))
        rows.append((f'{number}: attention', overlay_attention(clip, attention, tubelet)))
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


def pooled(tokens: Tensor) -> np.ndarray:
    """Means and deviations over clips' tokens ``(n, 2 * C)``: a deviation shows that it moves."""
    tokens = tokens.float()
    return torch.cat([tokens.mean(1), tokens.std(1)], dim=-1).cpu().numpy()


def class_names(config: Config, count: int) -> list[str]:
    """Names of the validation videos' labels; see ``label_names``."""
    return label_names(list_file_of(innermost_dataset(config.val_dataloader.dataset)), count)
