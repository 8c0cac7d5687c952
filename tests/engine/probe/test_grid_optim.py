"""The optimiser of a grid of probes."""

import pytest
import torch
from mmengine.optim import CosineAnnealingLR
from torch import nn

from nextvid_mm.engine.probe import GridAdamW, ProbeOptimWrapperConstructor
from nextvid_mm.models.heads import ProbeHead

LRS, DECAYS = [1e-1, 1e-2, 1e-3], [0.0, 0.5, 0.1]


def test_every_member_moves_as_under_its_own_adamw():
    start = [torch.randn(3, 4, 5), torch.randn(3, 4)]
    stacked = [nn.Parameter(p.clone()) for p in start]
    grid = GridAdamW(stacked, LRS, DECAYS, betas=(0.8, 0.95))
    alone = [[nn.Parameter(p[g].clone()) for p in start] for g in range(3)]
    optimizers = [
        torch.optim.AdamW(alone[g], lr=LRS[g], weight_decay=DECAYS[g], betas=(0.8, 0.95))
        for g in range(3)
    ]
    for _ in range(5):
        gradients = [torch.randn_like(p) for p in stacked]
        for parameter, gradient in zip(stacked, gradients, strict=True):
            parameter.grad = gradient.clone()
        grid.step()
        for g, optimizer in enumerate(optimizers):
            for parameter, gradient in zip(alone[g], gradients, strict=True):
                parameter.grad = gradient[g].clone()
            optimizer.step()
    for g in range(3):
        for ours, theirs in zip(stacked, alone[g], strict=True):
            torch.testing.assert_close(ours[g], theirs, rtol=1e-5, atol=1e-6)


def test_schedulers_see_every_members_learning_rate():
    parameter = nn.Parameter(torch.zeros(3, 2))
    grid = GridAdamW([parameter], LRS, DECAYS)
    scheduler = CosineAnnealingLR(grid, T_max=4, eta_min=0.0, by_epoch=False)
    for expected in (0.853553, 0.5, 0.146447, 0.0):
        parameter.grad = torch.ones_like(parameter)
        grid.step()
        scheduler.step()
        assert [g['lr'] for g in grid.param_groups] == pytest.approx(
            [expected * lr for lr in LRS], 1e-5
        )


def test_zero_grad_and_parameters_without_gradient():
    used, unused = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(3, 2))
    grid = GridAdamW([used, unused], LRS, DECAYS)
    used.sum().backward()
    grid.step()
    assert not torch.equal(used, torch.ones(3, 2))
    assert torch.equal(unused, torch.ones(3, 2))
    grid.zero_grad()
    assert used.grad is None


def test_state_survives_a_checkpoint():
    def train(parameter, grid, steps):
        for _ in range(steps):
            grid.zero_grad()
            (parameter - 3).square().sum().backward()
            grid.step()

    whole = nn.Parameter(torch.zeros(3, 2))
    whole_grid = GridAdamW([whole], LRS, DECAYS)
    train(whole, whole_grid, 6)
    first = nn.Parameter(torch.zeros(3, 2))
    first_grid = GridAdamW([first], LRS, DECAYS)
    train(first, first_grid, 2)
    second = nn.Parameter(first.detach().clone())
    second_grid = GridAdamW([second], LRS, DECAYS)
    second_grid.load_state_dict(first_grid.state_dict())
    train(second, second_grid, 4)
    assert torch.equal(second, whole)


def test_refuses_parameters_that_are_not_stacked():
    with pytest.raises(ValueError, match=r'3 lrs, but a parameter of shape \(2, 4\)'):
        GridAdamW([nn.Parameter(torch.zeros(2, 4))], LRS, DECAYS)


def test_constructor_reads_the_heads_grid():
    model = nn.Module()
    model.frozen = nn.Linear(2, 2)
    model.cls_head = ProbeHead(3, 16, num_heads=4, lrs=[1e-2, 1e-3], weight_decays=[0.1])
    wrapper = ProbeOptimWrapperConstructor(dict(type='OptimWrapper'))(model)
    groups = wrapper.optimizer.param_groups
    assert [(g['lr'], g['weight_decay']) for g in groups] == [(1e-2, 0.1), (1e-3, 0.1)]
    assert sum(p.numel() for g in groups for p in g['params']) == sum(
        p.numel() for p in model.cls_head.parameters()
    )


def test_constructor_refuses_paramwise_settings():
    with pytest.raises(ValueError, match='paramwise_cfg'):
        ProbeOptimWrapperConstructor(dict(type='OptimWrapper'), dict(norm_decay_mult=0.0))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(type='AmpOptimWrapper'), "type='AmpOptimWrapper' of a probe grid is not one of"),
        (dict(clip_grad=dict(max_norm=1.0)), 'clip_grad means nothing to a probe grid'),
    ],
)
def test_constructor_refuses_what_needs_gradients_before_the_step(settings, message):
    with pytest.raises(ValueError, match=message):
        ProbeOptimWrapperConstructor(settings)
