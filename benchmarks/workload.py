"""What is trained in a benchmark: models of all sizes, and batches made up in memory."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope

from nextvid_mm.config_files import find_config
from nextvid_mm.datasets.collate import collate_clips
from nextvid_mm.datasets.request import isolated_rng
from nextvid_mm.engine.optim import AutocastOptimWrapper, StageOptimWrapperConstructor
from nextvid_mm.layers import ARCHITECTURES
from nextvid_mm.layers.precision import resolve_dtype
from nextvid_mm.models.algorithms import NextVid
from nextvid_mm.registry import MODELS, SCOPE, TRANSFORMS

PATCH, TUBELET = 16, 2


def base_config(name: str) -> Config:
    """A file of ``configs/_base_``, such as ``schedules/paper_4stage``."""
    return copy.deepcopy(_read(name))


@cache
def _read(name: str) -> Config:
    return Config.fromfile(find_config(f'_base_/{name}.py'))


SIZES = ARCHITECTURES
TARGETS = ('pixel', 'vae')
NETWORKS = ('encoder', 'predictor', 'decoder')


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
        with_cp: recomputation: False, ``light``, ``products`` or True.
        recomputed: the networks that do so, of ``NETWORKS``; the others keep everything.
    """

    size: str = 'tiny'
    frames: int = 16
    batch: int = 2
    pixels: int = 64
    target: str = 'pixel'
    tau_samples: int = 1
    images: int = 0
    with_cp: bool | str = False
    recomputed: tuple[str, ...] = NETWORKS

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
        """The ``NextVid`` config: the demo's or the paper's, on hidden patches."""
        tiny = base_config('models/nextvid_vit-tiny').model
        model = tiny if self.size == 'tiny' else base_config('models/nextvid_vit-large').model
        arch, decoder = SIZES[self.size], model.head.decoder
        model.backbone.update(arch=arch, img_size=self.pixels)
        model.neck.in_channels = model.align_head.out_channels = arch['embed_dims']
        model.head.tau_samples = self.tau_samples
        for name, net in zip(NETWORKS, (model.backbone, model.neck, decoder), strict=True):
            net.with_cp = self.with_cp if name in self.recomputed else False
        if self.size == 'tiny':  # one block would say little of the time that blocks take
            model.neck.depth = decoder.depth = 2
        if self.target == 'pixel':
            model.target_generator, decoder.target_channels = tiny.target_generator, 96
        else:
            grid = dict(patch_size=PATCH, tubelet_size=TUBELET)
            model.target_generator = dict(type='VAVAETarget', checkpoint='none', **grid)
            decoder.target_channels = 64
        return dict(model, queries='hidden', compile=False)

    def masking(self) -> Any:
        """The mask transform: the paper's strategies, or the demo's on its small grid."""
        data = base_config(f'datasets/{"demo" if self.size == "tiny" else "paper_mixture"}')
        steps = data.train_dataloader.dataset.pipeline
        step = next(s for s in steps if s.type == 'FrameIsolatedMasking')
        if self.pixels != data.img_size:  # numbers of visible patches are those of a grid
            for strategy in step.strategies:
                strategy.pop('num_visible', None)
        return TRANSFORMS.build(step)


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
    settings = base_config('schedules/paper_4stage').optim_wrapper
    settings.dtype = dtype
    settings.optimizer.lr = 1e-4
    if not fused:
        del settings.optimizer.fused
    settings.pop('constructor')
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
    samples = []
    for number in range(workload.batch):
        static = number < workload.images
        clip = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        clip = clip[:, :, :1].expand(shape).contiguous() if static else clip
        sample_seed = 1000 * seed + number
        with isolated_rng(sample_seed):
            masks = masking(dict(img_shape=shape[-2:]))['masks']
        sample = ActionDataSample()
        sample.set_field(masks, 'masks')
        sample.set_metainfo(dict(sample_seed=sample_seed, static=static))
        samples.append(dict(inputs=clip, data_samples=sample))
    return collate_clips(samples)


def mask_sizes(batch: dict[str, Any]) -> Sequence[tuple[int, int]]:
    """Visible and hidden patches (K, M) of each strategy."""
    masks = batch['data_samples'].masks
    return [(mask.visible.shape[1], mask.queried.shape[1]) for mask in masks]
