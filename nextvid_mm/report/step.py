"""What one training step of a config is made of, taken apart on a real batch.

Shape legend: B clips, T tubelets, N patches of a tubelet, K visible and M queried ones,
C channels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import set_random_seed
from numpy.typing import NDArray
from torch import Tensor, nn

from nextvid_mm.checks import check_count
from nextvid_mm.datasets import collate_clips
from nextvid_mm.datasets.samplers import ClipSampler
from nextvid_mm.engine.stages import Stage, StageTable
from nextvid_mm.layers import BatchMask, ClipBatch, TokenGrid, gather_patches, load_exactly
from nextvid_mm.models.algorithms.nextvid import NextVid
from nextvid_mm.models.checkpoints import read_checkpoint
from nextvid_mm.models.heads import FlowMatchingHead
from nextvid_mm.models.heads.flow_matching import FlowPass
from nextvid_mm.progress import quiet_log
from nextvid_mm.registry import DATASETS, MODELS, SCOPE

PARTS = ('backbone', 'neck', 'head', 'align_head')
_INFLUENCE_FRAMES = 8  # each costs a backward pass, and more show the same


@dataclass(frozen=True)
class Strategy:
    """One masking strategy's share of a step.

    Attributes:
        mask: visible and hidden patches.
        positions: queried patches ``(B, M)``; None for all.
        z: predictions ``(B, T-1, M, C)``.
        flow: noise, noisy targets and velocities; None without a flow head.
        losses: by name, the weighted loss of each predicted frame ``(T-1,)``.
    """

    mask: BatchMask
    positions: Tensor | None
    z: Tensor
    flow: FlowPass | None
    losses: dict[str, Tensor]


@dataclass(frozen=True)
class StepInsight:
    """A training step in its parts.

    Attributes:
        step: its number in the run, from 0.
        stage: its stage.
        model: as it was before the step.
        clip: ``(B, 3, T_video, height, width)`` in [-1, 1].
        batch: what comes with the clips.
        grid: their tokens.
        target: clean targets ``(B, T-1, N, C)``; None without a head.
        features: of the reference encoder ``(B, T-1, N, C)``; None without alignment.
        strategies: one per mask.
        losses: as training logs them.
        grad_norms: of each network.
        influence: by network, how strongly input frames (columns) reach output frames (rows).
    """

    step: int
    stage: Stage
    model: NextVid
    clip: Tensor
    batch: ClipBatch
    grid: TokenGrid
    target: Tensor | None
    features: Tensor | None
    strategies: list[Strategy]
    losses: dict[str, float]
    grad_norms: dict[str, float]
    influence: dict[str, NDArray[np.float64]]


def look_at_step(
    cfg: Config,
    step: int = 0,
    clips: int = 2,
    checkpoint: str | None = None,
    device: str = 'cpu',
) -> StepInsight:
    """Take a step's first clips through the model, forward and backward; no weight moves.

    Args:
        cfg: a training config of a ``NextVid`` on a mixture.
        step: optimiser step whose clips and stage are taken, from 0.
        clips: clips of its batch.
        checkpoint: weights of the whole model; None for new ones.
        device: where it runs.

    Raises:
        ValueError: for another algorithm, or a step outside of the stage table.
        FileNotFoundError: if data or weights are missing.
    """
    if cfg.model.type.rpartition('.')[2] != NextVid.__name__:
        raise ValueError(f'model.type={cfg.model.type}: only a step of NextVid can be explained')
    table = StageTable(cfg.train_cfg.stages)
    if not 0 <= step < table.total_steps:
        raise ValueError(
            f'step {step} is outside of the config’s {table.total_steps} steps, from 0'
        )
    check_count(clips, 'clips')
    state = None if checkpoint is None else read_checkpoint(checkpoint)['state_dict']
    seed = (cfg.get('randomness') or {}).get('seed') or 0
    stage = table.at(step)[1]
    positions = np.arange(min(clips, stage.batch_size)) + table.samples_before(step)
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, _scope_=SCOPE))
    requests = ClipSampler(dataset, seed).requests(positions, stage.num_frames)
    set_random_seed(seed)
    model = _build(cfg, state, checkpoint).to(device)
    if model.head is not None:
        model.head.tau_samples = stage.tau_samples
    data = model.data_preprocessor(collate_clips([dataset[r] for r in requests]), training=True)
    clip, batch = data['inputs'].flatten(0, 1), data['data_samples']
    losses = model.loss(clip, batch)
    torch.stack(list(losses.values())).sum().backward()
    norms = {name: _grad_norm(getattr(model, name)) for name in PARTS}
    model.zero_grad()
    return StepInsight(
        step=step,
        stage=stage,
        model=model,
        clip=clip,
        batch=batch,
        grid=model.backbone.grid_of(clip),
        **_take_apart(model, clip, batch),
        losses={name: value.item() for name, value in losses.items()},
        grad_norms={name: norm for name, norm in norms.items() if norm is not None},
        influence=dict(_influence(model, clip[:1], batch.take([0]))),
    )


def _build(cfg: Config, state: dict[str, Any] | None, path: str | None) -> NextVid:
    model = MODELS.build(dict(cfg.model, compile=False, _scope_=SCOPE))
    with quiet_log():
        model.init_weights()
    if state is not None:
        load_exactly(model, state, f'{path} is not the model of the config')
    return model.train()


def _grad_norm(part: nn.Module | None) -> float | None:
    gradients = [] if part is None else [p.grad for p in part.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else None


@torch.no_grad()
def _take_apart(model: NextVid, clip: Tensor, batch: ClipBatch) -> dict[str, Any]:
    """What ``NextVid.loss`` averages over, frame by frame: the same calls and the same draws."""
    grid, patches = model.next_frame_grid(clip), model.backbone.patchify(clip)
    target = None if model.head is None else model.target_generator(clip, batch)
    features = None if model.align_head is None else model.reference(patches, grid)[:, 1:]
    strategies = []
    for number, mask in enumerate(model.masks_of(batch)):
        z, positions = model.predict_tokens(patches, grid, mask)
        flow, losses = None, {}
        if isinstance(model.head, FlowMatchingHead):
            hidden = gather_patches(target, positions)
            flow = model.head.regress(z, hidden, grid, positions, batch.seeds_of(number))
            error = (flow.predicted - flow.velocity).square()
            losses['loss_flow'] = model.head.loss_weight * error.mean(dim=(0, 2, 3, 4))
        for head, wanted in ((model.head, target), (model.align_head, features)):
            if head is not None and not isinstance(head, FlowMatchingHead):
                losses |= _frame_losses(head, z, gather_patches(wanted, positions), grid, positions)
        strategies.append(Strategy(mask, positions, z, flow, losses))
    return dict(target=target, features=features, strategies=strategies)


def _frame_losses(
    head: nn.Module, z: Tensor, target: Tensor, grid: TokenGrid, positions: Tensor | None
) -> dict[str, Tensor]:
    """Losses of a head that draws nothing, one frame after the other."""
    frames = [
        head(z[:, [t]], target[:, [t]], grid.with_tubelets(2), positions) for t in range(z.shape[1])
    ]
    return {name: torch.stack([losses[name] for losses in frames]) for name in frames[0]}


def _influence(
    model: NextVid, clip: Tensor, batch: ClipBatch
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Measure by gradients which frames each network reads.

    Args:
        model: the model.
        clip: a single one.
        batch: what comes with it.
    """
    clip = clip[:, :, : _INFLUENCE_FRAMES * model.backbone.tubelet_size]
    grid, mask = model.backbone.grid_of(clip), batch.masks[0]
    patches = model.backbone.patchify(clip).detach().requires_grad_()
    yield 'encoder', _reach(model.backbone(patches, grid)[-1], patches)
    past = grid.with_tubelets(grid.tubelets - 1)
    context = model.backbone(patches, past, mask.visible)[-1].detach().requires_grad_()
    positions = mask.queried if model.queries == 'hidden' else None
    z = model.neck(context, grid, mask.visible, positions)
    yield 'predictor', _reach(z, context)
    if isinstance(model.head, FlowMatchingHead):
        head = copy.deepcopy(model.head)
        for parameter in head.parameters():  # else the zeros it starts with would hide all
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
        h = torch.randn(*z.shape[:2], 1, z.shape[2], head.target_channels, device=z.device)
        h.requires_grad_()
        tau = h.new_full(h.shape[:3], 0.5)
        rope = head.decoder.spatial_rope(grid, positions, copies=z.shape[1])
        yield 'decoder', _reach(head.velocity(h, tau, z.detach(), rope), h)


def _reach(output: Tensor, source: Tensor) -> NDArray[np.float64]:
    """Size of the gradient of each output frame to each source frame, ``(T_out, T_in)``."""
    weights = torch.randn_like(output)
    rows = []
    for t in range(output.shape[1]):
        (gradient,) = torch.autograd.grad(
            (output[:, t] * weights[:, t]).sum(), source, retain_graph=True
        )
        rows.append(gradient.double().square().sum(dim=(0, *range(2, gradient.dim()))).sqrt())
    return torch.stack(rows).cpu().numpy()
