"""Keys and values of past tubelets, so that a new tubelet costs one tubelet.

The encoder is causal and the predictor never changes its context: what either has computed for a
tubelet stays valid for ever. Rotary positions are relative: keys stay where they were rotated to,
and attention does not care for the order of keys: the buffer is a ring that is never shifted.

Shape legend: B streams, h heads, T new tubelets, N tokens per tubelet, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nextvid_mm.checks import check_count

from .attention import Attend, prefix_attention, sdpa


class FrameCache:
    """A ring buffer of the last ``window`` tubelets for every layer of a network.

    Memory is allocated once, with the first tubelet, and does not grow. All streams of a batch
    advance together; each can be started afresh on its own.

    Args:
        depth: layers.
        window: tubelets that are kept, the newest included.
    """

    def __init__(self, depth: int, window: int):
        check_count(window, 'window')
        self.window = window
        self.seen = 0  # tubelets so far, which is the time position of the next one
        self._born: list[int] = []  # first tubelet of each stream
        self._keys: list[Any] = [None] * depth  # tensors from the first tubelet on
        self._values: list[Any] = [None] * depth

    @property
    def nbytes(self) -> int:
        """Allocated bytes, keys and values of all layers."""
        return sum(x.nbytes for x in (*self._keys, *self._values) if x is not None)

    def reset(self, streams: Sequence[int] | None = None) -> None:
        """Forget all streams, or those numbered ``streams`` while the others go on."""
        if streams is None:
            self.seen, self._born = 0, []
            return
        count = len(self._born)
        wrong = [stream for stream in streams if not 0 <= stream < count]
        if wrong:
            raise ValueError(
                f'there is no stream {wrong[0]}: the cache holds streams 0..{count - 1}'
            )
        for stream in streams:
            self._born[stream] = self.seen

    def state(self) -> dict[str, Tensor]:
        """Everything that a stream which goes on later needs, by name."""
        pairs = dict(keys=self._keys, values=self._values)
        kept = {f'{k}.{n}': x for k, layers in pairs.items() for n, x in enumerate(layers)}
        counts = dict(seen=torch.tensor(self.seen), born=torch.tensor(self._born))
        return counts | {name: x.clone() for name, x in kept.items() if x is not None}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state`` was taken, on the device of its tensors."""
        self.seen, self._born = int(state['seen']), state['born'].tolist()
        for name, layers in (('keys', self._keys), ('values', self._values)):
            for layer in range(len(layers)):
                kept = state.get(f'{name}.{layer}')
                # A copy: the ring is written in place, and a state may be restored again.
                layers[layer] = None if kept is None else kept.clone()

    def causal(self, layer: int) -> Attend:
        """Attention of one layer's new tubelets to own and cached earlier tubelets.

        The function stores the keys and values it is given. ``advance`` ends the step.
        """
        return partial(self._attend_causally, layer)

    def context(self, layer: int, frames: int) -> Attend:
        """Attention of one block of queries to ``frames`` new and all cached context tubelets."""
        return partial(self._attend_to_all, layer, frames)

    def advance(self, frames: int) -> None:
        """Count ``frames`` new tubelets, once every layer has stored them."""
        self.seen += frames

    def _attend_causally(self, layer: int, q: Tensor, k: Tensor, v: Tensor, frames: int) -> Tensor:
        if self.seen == 0 and frames <= self.window:
            self._store(layer, k, v, frames)
            return prefix_attention(q, k, v, frames)
        outputs = []
        parts = zip(*(x.chunk(frames, dim=2) for x in (q, k, v)), strict=True)
        for number, (q_t, k_t, v_t) in enumerate(parts):
            self._store(layer, k_t, v_t, 1, ahead=number)
            outputs.append(self._read(layer, q_t, self.seen + number + 1))
        return outputs[0] if frames == 1 else torch.cat(outputs, dim=2)

    def _attend_to_all(
        self, layer: int, frames: int, q: Tensor, k: Tensor, v: Tensor, blocks: int
    ) -> Tensor:
        if blocks != 1:
            raise ValueError(f'queries of {blocks} tubelets cannot share one cached context')
        self._store(layer, k, v, frames)
        return self._read(layer, q, self.seen + frames)

    def _store(self, layer: int, k: Tensor, v: Tensor, frames: int, ahead: int = 0) -> None:
        """Write ``frames`` tubelets from time ``seen + ahead`` on; the last ``window`` remain."""
        n = k.shape[2] // frames
        keys, values = self._buffers(layer, k, n)
        for number in range(max(0, frames - self.window), frames):
            slot = (self.seen + ahead + number) % self.window
            keys[:, :, slot * n : (slot + 1) * n] = k[:, :, number * n : (number + 1) * n]
            values[:, :, slot * n : (slot + 1) * n] = v[:, :, number * n : (number + 1) * n]

    def _read(self, layer: int, q: Tensor, end: int) -> Tensor:
        """Attention of queries to all tubelets in the buffer, the newest being ``end - 1``."""
        keys, values = self._keys[layer], self._values[layer]
        n = keys.shape[2] // self.window
        filled = min(end, self.window) * n
        mask = self._alive(end, n, q.device)
        return sdpa(q, keys[:, :, :filled], values[:, :, :filled], mask)

    def _alive(self, end: int, n: int, device: torch.device) -> Tensor | None:
        """Boolean ``(B, 1, 1, filled * N)``: keys since each stream's start; None if all are."""
        if max(self._born) <= max(0, end - self.window):
            return None
        slots = torch.arange(min(end, self.window), device=device)
        frame = end - 1 - (end - 1 - slots) % self.window
        born = torch.tensor(self._born, device=device)
        return (frame >= born[:, None]).repeat_interleave(n, dim=1)[:, None, None]

    def _buffers(self, layer: int, k: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Keys and values ``(B, h, window * N, D)``, allocated for the first tubelet.

        Raises:
            ValueError: if tubelets do not fit those in the buffer.
        """
        B, h, _, D = k.shape
        shape = (B, h, self.window * n, D)
        keys, values = self._keys[layer], self._values[layer]
        if keys is not None:
            if keys.shape == shape and (keys.dtype, keys.device) == (k.dtype, k.device):
                self._born = self._born or [0] * B
                return keys, values
            if self.seen:
                raise ValueError(
                    f'the cache holds {len(keys)} streams of {keys.shape[2] // self.window} tokens '
                    f'per frame in {keys.dtype}, and got {B} of {n} in {k.dtype}: call reset() '
                    'before streams of another batch, size or type'
                )
        keys, values = k.new_empty(shape), k.new_empty(shape)
        self._keys[layer], self._values[layer] = keys, values
        self._born = [0] * B
        return keys, values
