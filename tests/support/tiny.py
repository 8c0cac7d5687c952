"""A NextVid small enough to run in a test, and clips with masks for it."""

import copy

import torch
from mmaction.structures import ActionDataSample

from nextvid_mm.datasets import collate_clips
from nextvid_mm.registry import MODELS

SIZE, PATCH, FRAMES = 16, 4, 8  # pixels, pixels, video frames: a grid of 4 x 4 x 4 tokens
PREPROCESSOR = dict(
    type='mmaction.ActionDataPreprocessor',
    mean=[127.5] * 3,
    std=[127.5] * 3,
    format_shape='NCTHW',
)
CONFIG = dict(
    type='NextVid',
    backbone=dict(
        type='CausalViT',
        arch=dict(embed_dims=24, depth=2, num_heads=2, mlp_ratio=2.0),
        img_size=SIZE,
        patch_size=PATCH,
    ),
    neck=dict(type='QFormerPredictor', in_channels=24, embed_dims=12, depth=2, num_heads=2),
    head=dict(
        type='FlowMatchingHead',
        decoder=dict(
            target_channels=96, condition_channels=12, embed_dims=24, depth=2, num_heads=2
        ),
        tau_samples=2,
    ),
    target_generator=dict(type='PixelTarget', patch_size=PATCH),
    align_head=dict(type='AlignHead', in_channels=12, out_channels=24),
    reference=dict(type='EMAReference'),
)


def build(**changes):
    """A tiny NextVid; ``changes`` replace whole slots."""
    model = MODELS.build(copy.deepcopy(CONFIG) | changes)
    model.init_weights()
    return model


def wake(module):
    """Give zero-initialised parameters values, so that nothing is the identity by accident."""
    for parameter in module.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return module


def clips(batch=2, frames=FRAMES):
    return torch.rand(batch, 3, frames, SIZE, SIZE) * 2 - 1


def sample(visible=(10, 5), **info):
    """A clip's masks, one per entry of ``visible``, and meta fields, packed as pipelines do."""
    masks = []
    for count in visible:
        order = torch.randperm((SIZE // PATCH) ** 2)
        masks.append(dict(visible=order[:count].sort().values, hidden=order[count:].sort().values))
    packed = ActionDataSample(metainfo=info)
    packed.set_field(masks, 'masks')
    return packed


def samples(batch=2, visible=(10, 5)):
    """What comes with ``batch`` clips: a ``ClipBatch`` with a mask per entry of ``visible``."""
    made = [sample(visible, sample_seed=100 + number) for number in range(batch)]
    pixels = torch.zeros(1)
    return collate_clips([dict(inputs=pixels, data_samples=s) for s in made])['data_samples']
