"""Run networks outside the shapes of training, as measurements in the middle of a run do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .attention import attention_layers


@contextmanager
def run_eagerly(module: nn.Module) -> Iterator[None]:
    """Compile nothing within, and attend by SDPA; afterwards all is as before.

    Compiled blocks would be compiled again for every new shape. FlexAttention without its compiled
    kernel would hold the whole matrix of scores in memory, so that it must be replaced, too.

    Args:
        module: networks to be run.
    """
    layers = attention_layers(module)
    backends = [layer.backend for layer in layers]
    for layer in layers:
        layer.backend = 'sdpa'
    try:
        with torch.compiler.set_stance('force_eager'):
            yield
    finally:
        for layer, backend in zip(layers, backends, strict=True):
            layer.backend = backend
