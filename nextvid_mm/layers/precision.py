"""Which floating-point type a forward pass runs in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

#: Autocast types by the name configs give them; None is no autocast.
DTYPES = {None: None, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
AUTO = 'auto'


def fast_dtype(device: str | torch.device) -> torch.dtype | None:
    """The autocast type that is faster than float32 on a device, None where none is.

    Decided by what the hardware has, not by a clock: two runs on one machine agree. A CPU needs
    instructions for bfloat16 (AMX or AVX512-BF16); without them, bfloat16 is emulated and slower
    than float32. Never float16, whose range is too small to be a default.

    Args:
        device: where the forward pass runs.
    """
    kind = torch.device(device).type
    if kind == 'cpu':
        native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    elif kind == 'cuda':
        native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(
            including_emulation=False
        )
    else:
        native = False
    return torch.bfloat16 if native else None


def check_dtype(name: str | None, key: str) -> None:
    """Raise unless ``name`` is the name of an autocast type.

    Args:
        name: None, ``auto``, ``bfloat16`` or ``float16``.
        key: the config key it stands under, for the message.

    Raises:
        ValueError: with the key, the value and the values allowed.
    """
    if name not in (*DTYPES, AUTO):
        raise ValueError(f'{key}={name!r} is not one of {[*DTYPES, AUTO]}')


def resolve_dtype(name: str | None, device: str | torch.device) -> torch.dtype | None:
    """The autocast type a config's name means on a device; None for no autocast.

    Args:
        name: None, ``auto`` (see ``fast_dtype``), ``bfloat16`` or ``float16``.
        device: where the forward pass runs.
    """
    return fast_dtype(device) if name == AUTO else DTYPES[name]


def without_autocast(kind: str) -> AbstractContextManager:
    """Arithmetic in the types of the tensors, whatever autocast says.

    Args:
        kind: of device; those without autocast, such as ``meta``, are left as they are.
    """
    if not torch.amp.is_autocast_available(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


class ExactBuffers(nn.Module):
    """A module whose own buffers keep their type when weights are cast, as by ``bfloat16()``.

    For tables that positions or times are multiplied by: rounded to 8 bits, position 257 would have
    the rotation of position 256.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ExactBuffers:
        exact = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, value in exact.items():
            moved = self._buffers[name]
            if value is not None and moved is not None and not value.is_meta:
                self._buffers[name] = value.to(moved.device)
        return self
