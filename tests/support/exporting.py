"""A small pretraining checkpoint as tools/train.py leaves it, reference and encoder apart."""

import copy

import torch
from tiny import CONFIG

from nextvid_mm.layers import resolve_arch
from nextvid_mm.registry import MODELS

STAGES = [
    dict(
        name='warm-up',
        steps=4,
        lr=(1e-4, 5e-4),
        tau_samples=4,
        num_frames=16,
        batch_size=3072,
        flow_lr=None,
    ),
    dict(
        name='stable',
        steps=6,
        lr=(5e-4, 1e-4),
        tau_samples=1,
        num_frames=16,
        batch_size=768,
        flow_lr=(8e-4, 8e-4),
    ),
]
SOURCES = [
    dict(name='clips', weight=0.75, dataset=dict(type='ClipListDataset', ann_file='list.txt')),
    dict(name='images', weight=0.25, dataset=dict(type='mmpretrain.ImageNet')),
]


def save_checkpoint(path, backbone=None, step=5):
    """Write it; returns the model."""
    config = copy.deepcopy(CONFIG)
    if backbone is not None:
        config['backbone'] = backbone
        width = resolve_arch(backbone['arch'])['embed_dims']
        config['neck']['in_channels'] = config['align_head']['out_channels'] = width
        config['target_generator']['patch_size'] = backbone['patch_size']
        channels = 3 * 2 * backbone['patch_size'] ** 2
        config['head']['decoder']['target_channels'] = channels
    model = MODELS.build(copy.deepcopy(config))
    model.init_weights()
    with torch.no_grad():
        for parameter in model.reference.parameters():
            parameter.add_(0.01)
    text = f'model = {config!r}\ntrain_dataloader = dict(dataset=dict(sources={SOURCES!r}))\n'
    meta = dict(
        iter=step,
        seed=3,
        experiment_name='toy',
        time='20260101_000000',
        mmengine_version='0.10.7',
        cfg=text,
        stages=STAGES,
        data=dict(names=['clips', 'images'], weights=[0.75, 0.25], lengths=[4000, 600]),
    )
    torch.save(dict(state_dict=model.state_dict(), meta=meta, optimizer={}), path)
    return model
