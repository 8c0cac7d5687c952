import pytest
import torch

from nextvid_mm.layers import CausalBlock, run_eagerly, set_attention_backend
from nextvid_mm.layers.attention import attention_layers


@pytest.fixture
def blocks():
    blocks = torch.nn.Sequential(CausalBlock(32, 2, 2.0), CausalBlock(32, 2, 2.0))
    set_attention_backend(blocks, 'flex')
    return blocks


def backends(blocks):
    return [layer.backend for layer in attention_layers(blocks)]


def test_attention_is_plain_within_and_as_before_afterwards(blocks):
    with run_eagerly(blocks):
        assert backends(blocks) == ['sdpa', 'sdpa']
    assert backends(blocks) == ['flex', 'flex']
    with pytest.raises(KeyError), run_eagerly(blocks):
        raise KeyError
    assert backends(blocks) == ['flex', 'flex']


def test_nothing_is_compiled_within():
    calls = []

    def backend(graph, inputs):
        calls.append(1)
        return graph.forward

    module = torch.nn.Linear(2, 2)
    module.compile(backend=backend)
    with run_eagerly(module):
        module(torch.zeros(1, 2))
    assert not calls
    module(torch.zeros(1, 2))
    assert calls
