import torch
from tiny import samples

from nextvid_mm.models.algorithms import collate_masks


def test_masks_are_stacked_strategy_by_strategy():
    data = samples(batch=3, visible=(10, 5))
    masks = collate_masks([sample.masks for sample in data], torch.device('cpu'))
    assert [tuple(m.visible.shape) for m in masks] == [(3, 10), (3, 5)]
    assert [tuple(m.queried.shape) for m in masks] == [(3, 6), (3, 11)]
    assert torch.equal(masks[1].queried[2], data[2].masks[1]['hidden'])
