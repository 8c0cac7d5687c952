"""How many shapes one function is compiled for."""

from torch import _dynamo as dynamo

# Numbers of frames, mask strategies and tau samples multiply.
COMPILED_SHAPES = 64


def allow_many_shapes() -> None:
    """Raise PyTorch's limit of eight, past which it stops compiling without a word."""
    dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, COMPILED_SHAPES)
