"""What a part of a model must be, and how a config that names something else is answered."""

import pytest
from tiny import CONFIG, build
from torch import nn

from nextvid_mm.models.backbones import CausalViT, VideoEncoder
from nextvid_mm.models.heads import FlowMatchingHead, Head
from nextvid_mm.models.part import Part, build_part
from nextvid_mm.models.predictors import Predictor
from nextvid_mm.models.target_generators import TargetGenerator
from nextvid_mm.registry import MODELS


@pytest.fixture
def register():
    """Registers classes for one test."""
    names = []

    def add(kind):
        names.append(kind.__name__)
        return MODELS.register_module(force=True, module=kind)

    yield add
    for name in names:
        MODELS.module_dict.pop(name)


@pytest.mark.parametrize(
    ('slot', 'contract', 'method'),
    [
        ('backbone', VideoEncoder, 'encode_patches'),
        ('neck', Predictor, 'forward'),
        ('head', Head, 'loss'),
        ('target_generator', TargetGenerator, 'channels, decode, encode'),
    ],
)
def test_a_part_that_lacks_a_method_is_told_contract_and_method(slot, contract, method, register):
    kind = type('Half', (contract,), {})
    register(kind)
    with pytest.raises(
        TypeError, match=rf'^model.{slot}: Half lacks {method} of {contract.__name__} \('
    ):
        build(**{slot: dict(type='Half')})


def test_a_part_of_another_kind_is_refused(register):
    register(type('Loose', (nn.Module,), {}))
    with pytest.raises(TypeError, match=r'^model.neck: Loose is not derived from Predictor \('):
        build(neck=dict(type='Loose'))
    with pytest.raises(TypeError, match='names no registered class under `type`'):
        build(neck=dict(type='NoSuchThing'))


def test_built_parts_are_what_the_registry_builds():
    made = build_part(CONFIG['backbone'], VideoEncoder, 'model.backbone')
    assert type(made) is CausalViT


def test_blocks_are_found_where_they_are():
    assert Part().trunk.blocks == ()
    head = build().head
    assert isinstance(head, FlowMatchingHead)
    assert len(head.trunk.blocks) == 2
    assert not [name for name in head.state_dict() if name.startswith('blocks')]
