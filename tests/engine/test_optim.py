"""Groups and steps of the optimiser."""

import copy

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn
from toy_training import ToyModel

from nextvid_mm.engine.optim import AutocastOptimWrapper, StageOptimWrapperConstructor
from nextvid_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def wrap(model, optimizer=torch.optim.AdamW, lr=1e-2, **options):
    groups = [
        dict(params=list(model[0].parameters()), group='base'),
        dict(params=list(model[2].parameters()), group='flow', lr=2 * lr),
    ]
    return AutocastOptimWrapper(optimizer(groups, lr=lr), **options)


def train(model, wrapper, batches):
    for batch in batches:
        with wrapper.optim_context(model):
            loss = model(batch).square().mean()
        wrapper.update_params(loss)


def weights(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize(
    ('dtype', 'seen'),
    [(None, torch.float32), ('bfloat16', torch.bfloat16), ('float16', torch.float16)],
)
def test_autocast_on_the_cpu(model, dtype, seen):
    wrapper = wrap(model, dtype=dtype)
    with wrapper.optim_context(model):
        output = model(torch.randn(2, 4))
    assert output.dtype is seen
    before = weights(model)
    wrapper.update_params(output.float().square().mean())
    assert all(p.dtype is torch.float32 for p in model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_unknown_settings_are_refused(model):
    with pytest.raises(ValueError, match=r"dtype='fp8'"):
        wrap(model, dtype='fp8')
    for clip in (dict(max_value=1), dict(norm_type=2)):
        with pytest.raises(ValueError, match='clip_grad'):
            wrap(model, clip_grad=clip)


@pytest.mark.parametrize('fused', [False, True])
def test_accumulated_micro_batches_equal_one_batch(model, fused):
    other = copy.deepcopy(model)
    data = torch.randn(12, 4)

    def make(module):
        return wrap(module, lambda g, lr: torch.optim.AdamW(g, lr=lr, fused=fused))

    whole, parts = make(model), make(other)
    for count in (1, 3, 4):  # the number may change from step to step
        whole.begin_step(1)
        train(model, whole, [data])
        parts.begin_step(count)
        train(other, parts, data.chunk(count))
    for a, b in zip(weights(model), weights(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_gradients_are_synchronised_in_the_last_micro_batch_only(model):
    wrapper = wrap(model)
    wrapper.begin_step(3)
    synchronised = []
    for _ in range(3):
        synchronised.append(wrapper.should_sync())
        train(model, wrapper, [torch.randn(2, 4)])
    assert synchronised == [False, False, True]


def test_clipping_is_by_the_norm_over_all_groups(model):
    wrapper = wrap(model, torch.optim.SGD, lr=1.0, clip_grad=dict(max_norm=0.5))
    for group in wrapper.optimizer.param_groups:
        group['lr'] = 1.0
    before = weights(model)
    train(model, wrapper, [100 * torch.randn(4, 4)])
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, weights(model), strict=True)])
    assert wrapper.grad_norm > 0.5  # reported as it was before clipping
    assert moved.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_the_norm_is_measured_without_clipping_too(model):
    wrapper = wrap(model)
    train(model, wrapper, [torch.randn(4, 4)])
    hub = MessageHub.get_current_instance().get_scalar('train/grad_norm')
    assert hub.current() == wrapper.grad_norm > 0


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_a_non_finite_step_leaves_everything_as_it_was(model, bad):
    wrapper = wrap(model, clip_grad=dict(max_norm=1.0))
    train(model, wrapper, [torch.randn(4, 4)])
    before, state = weights(model), copy.deepcopy(wrapper.optimizer.state_dict()['state'])
    train(model, wrapper, [torch.full((4, 4), bad)])
    assert not wrapper.applied
    assert wrapper.skipped_steps == 1
    for a, b in zip(before, weights(model), strict=True):
        assert torch.equal(a, b)
    after = wrapper.optimizer.state_dict()['state']
    assert torch.equal(state[0]['exp_avg'], after[0]['exp_avg'])
    assert state[0]['step'] == after[0]['step']
    train(model, wrapper, [torch.randn(4, 4)])
    assert wrapper.applied
    assert wrapper.grad_norm == wrapper.grad_norm


def test_a_non_finite_loss_with_finite_gradients_is_skipped_too(model):
    wrapper = wrap(model)
    before = weights(model)
    with wrapper.optim_context(model):
        loss = model(torch.randn(4, 4)).mean() + torch.inf
    wrapper.update_params(loss)
    assert not wrapper.applied
    for a, b in zip(before, weights(model), strict=True):
        assert torch.equal(a, b)


def test_one_bad_micro_batch_spoils_its_step_only(model):
    wrapper = wrap(model)
    wrapper.begin_step(2)
    train(model, wrapper, [torch.full((4, 4), torch.nan), torch.randn(4, 4)])
    assert not wrapper.applied
    wrapper.begin_step(2)
    train(model, wrapper, [torch.randn(4, 4)] * 2)
    assert wrapper.applied


def test_training_stops_after_too_many_in_a_row(model):
    wrapper = wrap(model, max_nonfinite=3)
    bad, good = torch.full((2, 4), torch.nan), torch.randn(2, 4)
    train(model, wrapper, [bad, bad, good, bad, bad, bad])
    with pytest.raises(FloatingPointError, match=r'3 steps in a row.*learning rate'):
        train(model, wrapper, [good])


def test_float16_lowers_its_scale_before_it_gives_up(model):
    wrapper = wrap(model, dtype='float16', max_nonfinite=2)
    scale = wrapper.scaler.get_scale()
    for _ in range(4):
        train(model, wrapper, [torch.full((2, 4), torch.inf)])
    assert wrapper.scaler.get_scale() < scale
    train(model, wrapper, [torch.randn(2, 4)])
    saved = wrapper.state_dict()
    other = wrap(model, dtype='float16')
    other.load_state_dict(copy.deepcopy(saved))
    assert other.scaler.get_scale() == wrapper.scaler.get_scale()
    wrap(model).load_state_dict(saved)  # a run that goes on without float16


def test_rates_are_reported_by_group(model):
    wrapper = wrap(model, lr=0.5)
    assert wrapper.get_lr() == dict(lr=[0.5], flow_lr=[1.0])


def test_it_serves_mmengines_loops(model):
    """Accumulation by MMEngine's own counter, as in loops other than StageTrainLoop."""
    wrapper = wrap(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 5)
    stepped = []
    for _ in range(5):
        before = weights(model)
        train(model, wrapper, [torch.randn(2, 4)])
        stepped.append(not torch.equal(before[0], weights(model)[0]))
    assert stepped == [False, True, False, True, True]


ADAMW = dict(type='AdamW', lr=1e-3, weight_decay=0.04)


class Model(ToyModel):
    def __init__(self):
        super().__init__()
        self.neck = nn.Module()
        self.neck.query = nn.Parameter(torch.zeros(1, 1, 8))
        self.neck.query_proj = nn.Linear(8, 8)


def build(model=None, **options):
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='StageOptimWrapperConstructor',
            optim_wrapper_cfg=dict(optimizer=dict(ADAMW)),
            paramwise_cfg=options or None,
        )
    )
    return constructor(model or Model())


def names_of(wrapper, model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        group['name']: {names[id(parameter)] for parameter in group['params']}
        for group in wrapper.optimizer.param_groups
    }


def test_groups_are_a_partition_of_what_is_trainable():
    model = Model()
    wrapper = build(model)
    assert isinstance(wrapper, AutocastOptimWrapper)
    assert names_of(wrapper, model) == {
        'base_decay': {'backbone.0.weight', 'neck.query_proj.weight'},
        'base_no_decay': {
            'backbone.0.bias', 'backbone.1.weight', 'backbone.1.bias',
            'neck.query', 'neck.query_proj.bias',
        },
        'flow_decay': {'head.proj.weight'},
        'flow_no_decay': {'head.proj.bias'},
    }  # fmt: skip
    decays = {g['name']: g['weight_decay'] for g in wrapper.optimizer.param_groups}
    assert decays == dict(base_decay=0.04, base_no_decay=0.0, flow_decay=0.04, flow_no_decay=0.0)


def test_reference_encoder_is_left_out():
    model = Model()
    reference = {id(parameter) for parameter in model.reference.parameters()}
    groups = build(model).optimizer.param_groups
    assert not reference & {id(p) for group in groups for p in group['params']}


def test_prefixes_and_names_are_options():
    model = Model()
    groups = names_of(build(model, flow_prefixes=['neck.'], no_decay_names=[]), model)
    assert 'neck.query' in groups['flow_decay']
    assert 'head.proj.weight' in groups['base_decay']


def test_a_model_without_a_decoder_has_no_flow_group():
    model = Model()
    del model.head
    assert set(names_of(build(model), model)) == {'base_decay', 'base_no_decay'}


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"unknown \['norm_decay_mult'\]"):
        build(norm_decay_mult=0.0)
    with pytest.raises(ValueError, match='needs an optimizer'):
        StageOptimWrapperConstructor(dict(type='AutocastOptimWrapper'))
    with pytest.raises(ValueError, match='no parameter'):
        build(Model().requires_grad_(False))
