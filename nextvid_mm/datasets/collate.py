"""Brings a batch from a worker to the main process in few pieces.

``pseudo_collate`` leaves a batch as lists of small tensors (images, mask indices, labels), and
each of them crosses the process border on its own: a file descriptor, a socket connection and a
mapping. For 64 clips with two masks that took the main process longer than the worker needed to
make the clips. Here all tensors of one dtype travel as one, and are cut apart on arrival.
"""

import io
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import get_worker_info

from nextvid_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_clips(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate like MMEngine's ``pseudo_collate``, made for the way between processes.

    What arrives is equal to what ``pseudo_collate`` returns. The tensors of a batch share memory
    without
    overlapping: to keep one for long, clone it.

    Args:
        samples: What a data set returned for each item.

    Returns:
        ``dict(inputs=[Tensor, ...], data_samples=[...])``.
    """
    batch = pseudo_collate(samples)
    return batch if get_worker_info() is None else _Parcel(batch)


class _Parcel(dict):
    """A batch that packs its tensors when it is pickled; it is unpickled as a plain dict."""

    def __reduce__(self) -> tuple[Any, ...]:
        buffer = io.BytesIO()
        packer = _Packer(buffer)
        packer.dump(dict(self))
        return _unpack, (buffer.getvalue(), packer.pieces())


class _Packer(pickle.Pickler):
    """Pickles everything but plain tensors, which it collects by dtype."""

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        self.collected: dict[torch.dtype, list[Tensor]] = {}
        self.sizes: dict[torch.dtype, int] = {}

    def persistent_id(self, thing: Any) -> tuple[torch.dtype, int, tuple[int, ...]] | None:
        """Return (dtype, offset, shape) of a tensor that travels separately."""
        if type(thing) is not Tensor or thing.device.type != 'cpu' or thing.requires_grad:
            return None
        offset = self.sizes.get(thing.dtype, 0)
        self.collected.setdefault(thing.dtype, []).append(thing)
        self.sizes[thing.dtype] = offset + thing.numel()
        return thing.dtype, offset, tuple(thing.shape)

    def pieces(self) -> dict[torch.dtype, Tensor]:
        """Write the tensors of each dtype into one, directly in shared memory."""
        pieces = {}
        for dtype, tensors in self.collected.items():
            size = self.sizes[dtype]
            storage = (
                torch.empty(0, dtype=dtype).untyped_storage()._new_shared(size * dtype.itemsize)
            )
            piece = torch.empty(0, dtype=dtype).set_(storage, 0, (size,))
            offset = 0
            for tensor in tensors:
                piece[offset : offset + tensor.numel()].view(tensor.shape).copy_(tensor)
                offset += tensor.numel()
            pieces[dtype] = piece
        return pieces


class _Unpacker(pickle.Unpickler):
    """Puts views of the pieces where the tensors were."""

    def __init__(self, data: bytes, pieces: dict[torch.dtype, Tensor]) -> None:
        super().__init__(io.BytesIO(data))
        self.pieces = pieces

    def persistent_load(self, where: tuple[torch.dtype, int, tuple[int, ...]]) -> Tensor:
        """Return the tensor that :meth:`_Packer.persistent_id` described."""
        dtype, offset, shape = where
        return self.pieces[dtype][offset : offset + torch.Size(shape).numel()].view(shape)


def _unpack(data: bytes, pieces: dict[torch.dtype, Tensor]) -> dict[str, Any]:
    """Rebuild a batch in the receiving process."""
    return _Unpacker(data, pieces).load()
