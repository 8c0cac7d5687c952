import pytest
import torch
from mmaction.structures import ActionDataSample

from nextvid_mm.models.heads import ClipHead


@pytest.mark.parametrize('pool', ['attentive', 'mean'])
def test_it_classifies_clips_in_float32_under_autocast(pool):
    head = ClipHead(5, 24, pool=pool, num_heads=2)
    head.init_weights()
    features = torch.randn(3, 24, 4, 2, 2)
    with torch.autocast('cpu', torch.bfloat16):
        scores = head(features)
    assert scores.shape == (3, 5)
    assert scores.dtype == torch.float32
    samples = [ActionDataSample().set_gt_label(label) for label in (0, 4, 2)]
    losses = head.loss(features, samples)
    losses['loss_cls'].backward()
    assert all(p.grad is not None for p in head.parameters())


def test_the_mean_is_over_all_tokens():
    head = ClipHead(5, 24, pool='mean')
    features = torch.randn(3, 24, 4, 2, 2)
    expected = head.classifier[1](features.mean((2, 3, 4)))
    torch.testing.assert_close(head(features), expected)


def test_an_unknown_pool_is_refused():
    with pytest.raises(ValueError, match="pool='max' of ClipHead is not one of attentive, mean"):
        ClipHead(5, 24, pool='max')
