"""What is kept for the backward pass, and what is computed again.

Shape legend: C channels.
"""

from __future__ import annotations

from collections.abc import Iterable

from timm.layers import Mlp
from torch import Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint

CHOICES = (False, 'light', True)


class LeanMlp(Mlp):
    """timm's ``Mlp`` that can recompute its activation in the backward pass.

    The activation function is cheap but its output, four times as wide as a token, is the largest
    tensor a block keeps. With ``recompute``, only its input is kept: about a third less memory per
    block for the price of one more pass of the activation function (no matrix product is repeated).

    Args:
        dim: channels C of input and output.
        hidden: channels in between.
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__(dim, hidden)
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """``(..., C) -> (..., C)``."""
        hidden = self.fc1(x)
        if not (self.recompute and is_grad_enabled()):
            return self._second_half(hidden)
        return checkpoint(
            self._second_half,
            hidden,
            use_reentrant=False,
            preserve_rng_state=False,
            determinism_check='none',
        )

    def _second_half(self, hidden: Tensor) -> Tensor:
        return self.fc2(self.act(hidden))


def set_recompute(blocks: Iterable[nn.Module], with_cp: bool | str) -> bool:
    """Set how much of ``blocks`` is computed again in the backward pass.

    Args:
        blocks: blocks with an ``mlp``.
        with_cp: False keeps everything; ``light`` recomputes activation functions only; True
            recomputes whole blocks, which costs a second forward pass.

    Returns:
        Whether whole blocks are to be recomputed, which the caller does.

    Raises:
        ValueError: for another value.
    """
    if with_cp not in CHOICES:
        raise ValueError(f'with_cp={with_cp!r} is not one of {", ".join(map(repr, CHOICES))}')
    for block in blocks:
        for module in block.modules():
            if isinstance(module, LeanMlp):
                module.recompute = with_cp == 'light'
    return with_cp is True
