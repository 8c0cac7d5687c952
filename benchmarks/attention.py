"""The three attention patterns: as structure, as boolean matrices, and as FlexAttention on a GPU.

Shape legend: B rows, h heads, T blocks (frames), Nq and Nk tokens per block, D head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.report import Report
from benchmarks.timing import ratio, side_by_side
from benchmarks.workload import Workload
from nextvid_mm.layers import prefix_attention, sdpa
from nextvid_mm.layers.attention import flex_prefix_attention
from nextvid_mm.plan.flops import attention as attention_cost
from nextvid_mm.plan.flops import prefix_pairs


@dataclass(frozen=True)
class Pattern:
    """One pattern at one size.

    Attributes:
        name: ``causal``, ``autoregressive`` or ``isolated``.
        batch: B.
        heads: h.
        head_dim: D.
        frames: T.
        queries: Nq.
        keys: Nk.
    """

    name: str
    batch: int
    heads: int
    head_dim: int
    frames: int
    queries: int
    keys: int

    def mask(self, device: str = 'cpu') -> Tensor:
        """The boolean matrix ``(T * Nq, T * Nk)``."""
        query = torch.arange(self.frames, device=device).repeat_interleave(self.queries)
        key = torch.arange(self.frames, device=device).repeat_interleave(self.keys)
        if self.name == 'isolated':
            return query[:, None] == key
        return query[:, None] >= key

    def structured(self, q: Tensor, k: Tensor, v: Tensor, group: int | None = None) -> Tensor:
        """Attention as the layers compute it, ``(B, h, T * Nq, D)``."""
        if self.name != 'isolated':
            return prefix_attention(q, k, v, self.frames, group)
        q, k, v = (
            x.unflatten(2, (self.frames, -1)).transpose(1, 2).flatten(0, 1) for x in (q, k, v)
        )
        return sdpa(q, k, v).unflatten(0, (-1, self.frames)).transpose(1, 2).flatten(2, 3)

    def flops(self) -> float:
        """Useful operations of forward and backward pass."""
        if self.name == 'isolated':
            pairs = self.frames * self.queries * self.keys
        else:
            pairs = prefix_pairs(self.frames, self.queries, self.keys)
        return attention_cost(self.batch * pairs, self.heads * self.head_dim).total


def patterns(frames: int, batch: int, tokens: int, visible: int, size: str) -> list[Pattern]:
    """The four places where attention happens in a step.

    Args:
        frames: tubelets T of a clip.
        batch: clips.
        tokens: patches per frame, which the reference encoder sees.
        visible: patches per frame that the encoder sees; the others are queried.
        size: name of the encoder, see ``workload.SIZES``.
    """
    model = Workload(size).config()
    arch, neck = model['backbone']['arch'], model['neck']
    encoder = arch['num_heads'], arch['embed_dims'] // arch['num_heads']
    small, hidden = (neck.num_heads, neck.embed_dims // neck.num_heads), tokens - visible
    return [
        Pattern('causal', batch, *encoder, frames, tokens, tokens),
        Pattern('causal', batch, *encoder, frames - 1, visible, visible),
        Pattern('autoregressive', batch, *small, frames - 1, hidden, visible),
        Pattern('isolated', batch, *small, frames - 1, hidden, hidden),
    ]


def compare_attention(
    cases: Sequence[Pattern],
    repeats: int = 5,
    groups: Sequence[int] = (),
    device: str = 'cpu',
    clock: str = 'wall',
) -> Report:
    """Forward and backward pass of every pattern, structured against dense.

    Args:
        cases: patterns with sizes.
        repeats: timed runs.
        groups: also run prefix attention with so many blocks per call.
        device: where.
        clock: ``wall`` or ``cpu``.
    """
    report = Report(
        'attention, forward and backward',
        dict(repeats=repeats, device=device, clock=clock),
        ('pattern', 'B,h,T,Nq,Nk,D', 'how', 'ms', '±', 'dense over this', 'GFLOP/s'),
    )
    for case in cases:
        variants = variants_of(case, groups, device)
        series = side_by_side(variants, repeats, 1, clock, case.name)
        shape = (case.batch, case.heads, case.frames, case.queries, case.keys, case.head_dim)
        for name, values in series.items():
            gain = ratio(series['dense'], values)
            report.add(
                **{
                    'pattern': case.name,
                    'B,h,T,Nq,Nk,D': ','.join(map(str, shape)),
                    'how': name,
                    'ms': 1e3 * values.median,
                    '±': f'{values.spread:.0%}',
                    'dense over this': gain.median,
                    'GFLOP/s': case.flops() / values.median / 1e9,
                },
                seconds=values.seconds,
            )
    return report


def variants_of(case: Pattern, groups: Sequence[int], device: str) -> dict[str, Callable[[], None]]:
    """Functions that run forward and backward pass, by name."""
    shapes = [case.queries, case.keys, case.keys]
    q, k, v = (
        torch.randn(
            case.batch, case.heads, case.frames * n, case.head_dim, device=device
        ).requires_grad_()
        for n in shapes
    )
    weight, mask = torch.randn_like(q), case.mask(device)

    def both(function: Callable[..., Tensor]) -> Callable[[], None]:
        def run() -> None:
            torch.autograd.grad((function(q, k, v) * weight).sum(), (q, k, v))

        return run

    made = dict(dense=both(lambda q, k, v: sdpa(q, k, v, mask)), structured=both(case.structured))
    if case.name != 'isolated':
        if device != 'cpu':  # FlexAttention has no backward pass there
            made['flex'] = both(lambda q, k, v: flex_prefix_attention(q, k, v, case.frames))
        for group in groups:
            made[f'group of {group}'] = both(
                lambda q, k, v, group=group: case.structured(q, k, v, group)
            )
    return made
