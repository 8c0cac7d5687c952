"""What is trained in a benchmark: models of all sizes, and batches made up in memory."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmaction.structures import ActionDataSample
from mmengine.registry import init_default_scope

from nextvid_mm.datasets.request import isolated_rng
from nextvid_mm.engine.optim import AutocastOptimWrapper, StageOptimWrapperConstructor
from nextvid_mm.layers.precision import resolve_dtype
from nextvid_mm.models.algorithms import NextVid
from nextvid_mm.models.backbones.causal_vit import ARCHITECTURES
from nextvid_mm.registry import MODELS, SCOPE, TRANSFORMS

PATCH, TUBELET = 16, 2
# Encoders by name: the paper's three, the ViT-B they descend from, and the demo's.
SIZES = {
    'tiny': dict(embed_dims=128, depth=4, num_heads=4, mlp_ratio=4.0),
    'base': dict(embed_dims=768, depth=12, num_heads=12, mlp_ratio=4.0),
    **ARCHITECTURES,
}
# Width, depth and heads of predictor and decoder: Table 7 of the paper, and the demo's.
SMALL_NETS, PAPER_NETS = (128, 2, 4), (384, 12, 12)
PAPER_MASKS = (dict(num_blocks=8, scale=0.15), dict(num_blocks=2, scale=0.7))
DEMO_MASKS = (dict(num_blocks=3, scale=0.15), dict(num_blocks=1, scale=0.4))
TARGETS = ('pixel', 'vae')


@dataclass(frozen=True)
class Workload:
    """One training step's size.

    Attributes:
        size: of the encoder, see ``SIZES``.
        frames: video frames per clip.
        batch: clips.
        pixels: side of a frame.
        target: ``pixel`` (pooled to 96 channels) or ``vae`` (the VA-VAE's shape, random weights).
        tau_samples: noise levels per condition.
        images: how many clips of the batch are static.
        with_cp: recomputation of all three networks: False, ``light`` or True.
    """

    size: str = 'tiny'
    frames: int = 16
    batch: int = 2
    pixels: int = 64
    target: str = 'pixel'
    tau_samples: int = 1
    images: int = 0
    with_cp: bool | str = False

    def __post_init__(self) -> None:
        for key, value, allowed in (
            ('size', self.size, SIZES),
            ('target', self.target, TARGETS),
        ):
            if value not in allowed:
                raise ValueError(f'{key}={value!r} is not one of {", ".join(allowed)}')
        if self.images > self.batch:
            raise ValueError(f'images={self.images} of a batch of {self.batch} clips')

    def config(self) -> dict[str, Any]:
        """The ``NextVid`` config."""
        arch = SIZES[self.size]
        width, depth, heads = SMALL_NETS if self.size == 'tiny' else PAPER_NETS
        net = dict(embed_dims=width, depth=depth, num_heads=heads, with_cp=self.with_cp)
        grid = dict(patch_size=PATCH, tubelet_size=TUBELET)
        channels = 96 if self.target == 'pixel' else 64
        targets: dict[str, dict] = dict(
            pixel=dict(type='PixelTarget', pool=4, std=0.5, **grid),
            vae=dict(type='VAVAETarget', checkpoint='none', **grid),
        )
        return dict(
            type='NextVid',
            data_preprocessor=dict(
                type='mmaction.ActionDataPreprocessor',
                mean=[127.5] * 3,
                std=[127.5] * 3,
                format_shape='NCTHW',
            ),
            backbone=dict(
                type='CausalViT', arch=arch, img_size=self.pixels, with_cp=self.with_cp, **grid
            ),
            neck=dict(type='QFormerPredictor', in_channels=arch['embed_dims'], **net),
            head=dict(
                type='FlowMatchingHead',
                tau_samples=self.tau_samples,
                decoder=dict(target_channels=channels, condition_channels=width, **net),
            ),
            align_head=dict(type='AlignHead', in_channels=width, out_channels=arch['embed_dims']),
            target_generator=targets[self.target],
            reference=dict(type='EMAReference'),
        )

    def masking(self) -> Any:
        """The mask transform: the paper's strategies, or the demo's on its small grid."""
        strategies = DEMO_MASKS if self.size == 'tiny' else PAPER_MASKS
        return TRANSFORMS.build(
            dict(
                type='FrameIsolatedMasking',
                patch_size=PATCH,
                strategies=copy.deepcopy(strategies),
            )
        )


def build_model(workload: Workload, device: str = 'cpu') -> NextVid:
    """The model with seeded weights; zero-initialised ones get small values.

    Otherwise the decoder would be the identity at first, and equal losses would say little.
    """
    init_default_scope(SCOPE)
    torch.manual_seed(0)
    model = MODELS.build(workload.config())
    targets, model.target_generator = model.target_generator, None  # no checkpoint to load
    model.init_weights()
    model.target_generator = targets
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return model.to(device).train()


def build_optimizer(model: NextVid, dtype: str | None, fused: bool = True) -> AutocastOptimWrapper:
    """The optimiser of the shipped schedules: fused, or PyTorch's default implementation."""
    options = dict(type='AdamW', lr=1e-4, betas=(0.9, 0.95), weight_decay=0.04)
    if fused:
        options['fused'] = True
    settings = dict(
        type='AutocastOptimWrapper', dtype=dtype, optimizer=options, clip_grad=dict(max_norm=1.0)
    )
    return StageOptimWrapperConstructor(settings)(model)


def precision(device: str) -> str | None:
    """Name of the autocast type that is fast on ``device``; None is float32."""
    dtype = resolve_dtype('auto', device)
    return None if dtype is None else str(dtype).removeprefix('torch.')


def make_batch(workload: Workload, seed: int = 0) -> dict[str, Any]:
    """Clips of noise with real masks, as the loader delivers them."""
    masking = workload.masking()
    shape = (1, 3, workload.frames, workload.pixels, workload.pixels)
    generator = torch.Generator().manual_seed(seed)
    inputs, samples = [], []
    for number in range(workload.batch):
        static = number < workload.images
        clip = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        inputs.append(clip[:, :, :1].expand(shape).contiguous() if static else clip)
        sample_seed = 1000 * seed + number
        with isolated_rng(sample_seed):
            masks = masking(dict(img_shape=shape[-2:]))['masks']
        sample = ActionDataSample()
        sample.set_field(masks, 'masks')
        sample.set_metainfo(dict(sample_seed=sample_seed, static=static))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def mask_sizes(batch: dict[str, Any]) -> Sequence[tuple[int, int]]:
    """Visible and hidden patches (K, M) of each strategy."""
    masks = batch['data_samples'][0].masks
    return [(len(mask['visible']), len(mask['hidden'])) for mask in masks]
