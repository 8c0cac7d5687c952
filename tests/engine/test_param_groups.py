"""Which parameter lands in which group."""

import pytest
import torch
from torch import nn
from toy_training import ToyModel

from nextvid_mm.engine.optim_wrapper import AutocastOptimWrapper
from nextvid_mm.engine.param_groups import StageOptimWrapperConstructor
from nextvid_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

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
