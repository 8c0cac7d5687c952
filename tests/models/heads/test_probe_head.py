"""The grid: each member ends where it would have ended alone."""

import pytest
import torch
from probing import build_probe, toy_batches

from nextvid_mm.engine.probe import ProbeOptimWrapperConstructor
from nextvid_mm.models.heads.probe_head import ProbeHead, build_grid


def test_a_member_of_the_grid_equals_a_probe_trained_alone():
    def trained(lrs):
        torch.manual_seed(0)
        head = dict(type='ProbeHead', num_classes=3, num_heads=2, lrs=lrs, weight_decays=[0.1])
        model = build_probe(cls_head=head).train()
        wrapper = ProbeOptimWrapperConstructor(dict(type='OptimWrapper'))(model)
        torch.manual_seed(1)
        batches = toy_batches()
        for _ in range(3):
            for batch in batches:
                model.train_step(batch, wrapper)
        (tokens,) = model.eval().views_of_batch(batches[0])
        return model.cls_head(tokens), dict(model.cls_head.named_parameters())

    (grid, weights), (alone, own) = trained([3e-3, 1e-3]), trained([1e-3])
    for name, value in own.items():
        torch.testing.assert_close(weights[name][1], value[0], atol=2e-5, rtol=1e-4, msg=name)
    torch.testing.assert_close(grid[:, 1], alone[:, 0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(grid[:, 0], alone[:, 0], atol=1e-3)


def test_the_grid_is_all_pairs():
    grid = build_grid([1e-3, 1e-4], [0.1, 0.2])
    assert [m.name for m in grid] == [
        'lr0.001_wd0.1', 'lr0.001_wd0.2', 'lr0.0001_wd0.1', 'lr0.0001_wd0.2',
    ]  # fmt: skip


@pytest.mark.parametrize('lrs', [[], [-1.0], [1e-3, 1e-3]])
def test_bad_grids_are_refused(lrs):
    with pytest.raises(ValueError, match='lrs='):
        build_grid(lrs, [0.1])


def test_a_fixed_member_must_be_in_the_grid():
    with pytest.raises(ValueError, match='fixed_member=.* is not in the grid'):
        ProbeHead(3, 24, num_heads=2, lrs=[1e-3], weight_decays=[0.1], fixed_member=(1.0, 0.1))


def test_keys_of_the_pool_are_passed_on_and_checked():
    head = ProbeHead(3, 24, num_heads=2, pool=dict(depth=2, output_proj=False, eps=1e-5))
    assert (head.probes.depth, head.probes.proj, head.probes.eps) == (2, None, 1e-5)
    assert head(torch.randn(2, 5, 24)).shape == (2, 20, 3)
    with pytest.raises(ValueError, match=r"unknown keys \['depht'\]; it may have depth"):
        ProbeHead(3, 24, num_heads=2, pool=dict(depht=2))


def test_probes_compute_in_the_type_of_the_config():
    tokens = torch.randn(2, 5, 24)
    exact = ProbeHead(3, 24, num_heads=2)
    short = ProbeHead(3, 24, num_heads=2, dtype='bfloat16')
    short.load_state_dict(exact.state_dict())
    assert exact(tokens).dtype == torch.float32
    logits = short(tokens)
    assert not torch.equal(logits.float(), exact(tokens))
    torch.testing.assert_close(logits.float(), exact(tokens), atol=0.05, rtol=0.05)
    losses = short.loss_by_feat(logits, torch.tensor([0, 1]))
    losses['loss_cls'].backward()
    assert short.probes.to_key.weight.grad.dtype == torch.float32
    with pytest.raises(ValueError, match=r"model.cls_head.dtype='half' is not one of"):
        ProbeHead(3, 24, num_heads=2, dtype='half')


def test_first_weights_follow_from_the_seed_alone():
    heads = []
    for draws in (0, 3):
        torch.manual_seed(5)
        torch.rand(draws)  # as the encoder before it would
        head = ProbeHead(3, 24, num_heads=2, lrs=[1e-3], weight_decays=[0.1])
        head.init_weights()
        heads.append(torch.cat([p.flatten() for p in head.parameters()]))
    assert torch.equal(*heads)
