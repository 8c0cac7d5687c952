"""Every way to compute attention, blocks, losses and latents against the plainest, on a device.

The reference runs in float32, one operator after the other, with attention as a boolean matrix. A
difference is the largest of any entry over the largest entry of its tensor; of gradients, that of
the tensor with the largest.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from io import BytesIO
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.baseline import DenseBaseline
from benchmarks.report import Report
from benchmarks.step import make_stepper
from benchmarks.workload import Workload, build_model, make_batch
from nextvid_mm.layers import (
    CausalBlock,
    ContextBlock,
    DiTBlock,
    Rope3D,
    TokenGrid,
    prefix_attention,
    set_attention_backend,
    set_recompute,
)
from nextvid_mm.layers.attention import allow_many_shapes
from nextvid_mm.registry import MODELS

# What rounding may do: sums of some hundred numbers, and their gradients.
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
COLUMNS = ('what', 'way', 'type', 'outputs', 'gradients', 'allowed', 'equal')
Outputs = tuple[list[Tensor], list[Tensor]]
COMPILING = 40.0  # seconds, a guess


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest relative difference of any tensor; infinite where one is not finite."""
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        gap = (ours.double() - theirs.double()).abs().max()
        scale = theirs.double().abs().max().clamp(min=1e-30)
        ratio = float(gap / scale)
        worst = max(worst, ratio if ratio == ratio else float('inf'))
    return worst


class Case(NamedTuple):
    """One way and its reference."""

    what: str
    way: str
    dtype: torch.dtype
    work: Callable[[], Outputs]
    expected: Outputs
    compiles: bool = False
    """Takes a compiler's time."""
    rank: int = 0
    """Of those that compile, the lowest come first."""

    def row(self) -> dict[str, Any]:
        """Do it, and say how far from the reference it is and how long it took."""
        allowed, start = TOLERANCES[self.dtype], time.perf_counter()
        kind = str(self.dtype).removeprefix('torch.')
        row: dict[str, Any] = dict(what=self.what, way=self.way, type=kind, allowed=allowed)
        try:
            outputs, gradients = self.work()
            row['outputs'] = difference(outputs, self.expected[0])
            # FlexAttention has no backward pass on a CPU, a frozen autoencoder nowhere.
            row['gradients'] = difference(gradients, self.expected[1]) if gradients else None
            worst = max(row['outputs'], row['gradients'] or 0.0)
            row['equal'] = 'yes' if worst <= allowed else 'NO'
        except Exception as error:
            row['equal'], row['error'] = 'failed', one_line(error)
        return row | dict(seconds=time.perf_counter() - start)


def compare_ways(
    device: str,
    backend: str = 'inductor',
    small: bool = False,
    seconds: float = float('inf'),
    clock: Callable[[], float] = time.perf_counter,
) -> Report:
    """Hold every way against its reference; what fails is a row, too.

    Args:
        device: where.
        backend: of ``torch.compile``.
        small: sizes for a test.
        seconds: for all, compilation included; what does not fit is named.
        clock: seconds; a test has its own.
    """
    report = Report('every way against the reference', dict(device=device), COLUMNS)
    end, dropped = clock() + seconds, []
    makers = (_attention, _losses, _latents, _blocks)
    cases = [case for maker in makers for case in maker(device, backend, small)]
    taken: dict[str, float] = {}  # by what is compiled: the longest so far
    for case in sorted(cases, key=lambda case: (case.compiles, case.rank)):
        start = clock()
        if end - start < (taken.get(case.what, COMPILING) if case.compiles else 0.0):
            dropped.append(case)
            continue
        report.add(**case.row())
        if case.compiles:
            taken[case.what] = max(taken.get(case.what, 0.0), clock() - start)
    wrong = [row for row in report.rows if row['equal'] != 'yes']
    report.notes.append(f'{len(report.rows) - len(wrong)} of {len(report.rows)} are equal')
    report.notes += [f'{r["what"]}, {r["way"]}: {r["error"]}' for r in wrong if 'error' in r]
    if dropped:
        names = '; '.join(f'{case.what}, {case.way}, {case.dtype}' for case in dropped)
        report.notes.append(f'no time for {len(dropped)} ways: {names}')
    return report


def one_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    text = str(error).strip().splitlines()
    return f'{type(error).__name__}: {text[0][:200] if text else ""}'


def _with_gradients(function: Callable[..., Any], leaves: Sequence[Tensor]) -> Outputs:
    """Outputs, and gradients of the mean square with regard to ``leaves``."""
    outputs = function()
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    loss = sum(
        (x.float().square().mean() for x in outputs),
        start=torch.zeros((), device=outputs[0].device),
    )
    gradients = torch.autograd.grad(loss, list(leaves), allow_unused=True)
    kept = [
        g if g is not None else torch.zeros_like(x) for g, x in zip(gradients, leaves, strict=True)
    ]
    return [x.detach() for x in outputs], kept


def _autocast(device: str, dtype: torch.dtype) -> Any:
    return (
        nullcontext()
        if dtype is torch.float32
        else torch.autocast(torch.device(device).type, dtype)
    )


def _attention(device: str, backend: str, small: bool) -> Iterator[Case]:
    """Both patterns by every kernel, frames one by one and in groups."""
    frames, width = (3, 16) if small else (8, 64)
    sizes = (
        dict(causal=(6, 6), context=(10, 6)) if small else dict(causal=(77, 77), context=(179, 77))
    )
    for name, (nq, nk) in sizes.items():
        generator = torch.Generator().manual_seed(0)
        shapes = [(2, 2, frames * n, width) for n in (nq, nk, nk)]
        draws = [torch.randn(shape, generator=generator) for shape in shapes]
        leaves = [x.bfloat16().float().to(device).requires_grad_() for x in draws]
        query, key = (torch.arange(frames, device=device).repeat_interleave(n) for n in (nq, nk))
        mask = query[:, None] >= key
        expected = _with_gradients(
            lambda leaves=leaves, mask=mask: scaled_dot_product_attention(*leaves, attn_mask=mask),
            leaves,
        )
        for dtype, way in product(TOLERANCES, ('frame by frame', 'in groups', 'table', 'flex')):
            given = [x.detach().to(dtype).requires_grad_() for x in leaves]
            settings: dict[str, Any] = dict(num_blocks=frames)
            settings |= {
                'frame by frame': dict(group=1),
                'in groups': dict(group=2),
                'table': {},
                'flex': dict(backend='flex'),
            }[way]

            def work(given: Any = given, settings: Any = settings, dtype: Any = dtype) -> Outputs:
                with _autocast(device, dtype):
                    if settings.get('backend') == 'flex' and torch.device(device).type == 'cpu':
                        return [prefix_attention(*(x.detach() for x in given), **settings)], []
                    return _with_gradients(lambda: prefix_attention(*given, **settings), given)

            compiles = way == 'flex' and torch.device(device).type == 'cuda'
            rank = int(dtype is torch.float32)
            yield Case(f'attention, {name}', way, dtype, work, expected, compiles, rank)


def _blocks(device: str, backend: str, small: bool) -> Iterator[Case]:
    """Blocks eager and compiled, by both kernels, with every recomputation."""
    width, heads = (32, 2) if small else (256, 4)
    frames, side = (3, 2) if small else (8, 6)
    grid = TokenGrid(frames, side, side)
    tokens = (2, frames, side**2, width)
    rows = (2 * frames, side**2, width)
    torch.manual_seed(0)
    rope, still = (Rope3D(width // heads).to(device)(g) for g in (grid, grid.with_tubelets(1)))
    cases: list[tuple[nn.Module, list[Any]]] = [
        (CausalBlock(width, heads), [torch.randn(tokens), rope]),
        (ContextBlock(width, heads), [torch.randn(tokens), torch.randn(tokens), rope, rope]),
        (DiTBlock(width, heads), [torch.randn(rows), torch.randn(rows[0], width), still]),
    ]
    for block, drawn in cases:
        for parameter in block.parameters():
            nn.init.normal_(parameter, std=0.05)
        block.to(device)
        inputs = [x.to(device).requires_grad_() if isinstance(x, Tensor) else x for x in drawn]
        run = partial(_run_block, device, inputs)
        set_attention_backend(block, 'sdpa')
        expected = run(block, torch.float32)
        name = type(block).__name__
        first = name == 'CausalBlock'  # in all its forms, the others in the most different ones
        kernels = ('sdpa', 'flex') if first or name == 'ContextBlock' else ('sdpa',)
        settings = (False, 'light', 'products', True) if first else ('products',)
        kept = ('products',)
        for compiled, with_cp, kernel in product((False, True), settings, kernels):
            # A test compiles one way of each kernel.
            if small and (kernel == 'flex' or compiled) and with_cp not in kept:
                continue
            made = copy.deepcopy(block)
            set_attention_backend(made, kernel)
            set_recompute([made], with_cp)
            if compiled:
                allow_many_shapes()
                made.compile(dynamic=False, backend=backend)
            way = f'{"compiled" if compiled else "eager"}, {kernel}, with_cp={with_cp!r}'
            compiles = compiled or (kernel == 'flex' and torch.device(device).type == 'cuda')
            work = partial(run, made, torch.bfloat16)
            rank = settings.index(with_cp)
            yield Case(name, way, torch.bfloat16, work, expected, compiles, rank)


def _run_block(device: str, inputs: list[Any], block: nn.Module, dtype: torch.dtype) -> Outputs:
    leaves = [x for x in (*inputs, *block.parameters()) if isinstance(x, Tensor)]
    flex = any(getattr(m, 'backend', None) == 'flex' for m in block.modules())
    with _autocast(device, dtype):
        if flex and torch.device(device).type == 'cpu':
            with torch.no_grad():
                return [block(*inputs)], []
        return _with_gradients(lambda: block(*inputs), leaves)


def _losses(device: str, backend: str, small: bool) -> Iterator[Case]:
    """Losses and gradients of a whole model against the dense baseline's."""
    load = Workload('tiny', 4, 2) if small else Workload('small', 16, 2, 128)
    model = build_model(load, device)
    data = model.data_preprocessor(make_batch(load), training=True)
    clip, batch = data['inputs'].flatten(0, 1), data['data_samples']

    def run(made: Any, loss: Callable[..., dict[str, Tensor]], dtype: torch.dtype) -> Outputs:
        leaves = [p for p in made.parameters() if p.requires_grad]
        with _autocast(device, dtype):
            outputs, gradients = _with_gradients(lambda: loss(clip, batch).values(), leaves)
        return outputs, [torch.cat([g.flatten() for g in gradients])]  # a step's direction

    expected = run(model, DenseBaseline(model).loss, torch.float32)
    compiled = build_model(load, device)
    compiled.compile_blocks(backend=backend)
    for dtype, (way, made) in product(TOLERANCES, dict(eager=model, compiled=compiled).items()):
        compiles, exact = way == 'compiled', dtype is torch.float32
        if not (small and compiles and exact):  # a test compiles it once
            work = partial(run, made, made.loss, dtype)
            yield Case('losses', way, dtype, work, expected, compiles, int(exact))


def _latents(device: str, backend: str, small: bool) -> Iterator[Case]:
    """A frozen autoencoder's latents: bfloat16, compiled, against float32."""
    settings: dict[str, Any] = dict(
        type='VAVAETarget', checkpoint='none', patch_size=16, tubelet_size=2
    )
    if small:
        settings |= dict(base_channels=32, latent_channels=48)
    torch.manual_seed(0)
    exact = MODELS.build(settings | dict(dtype=None)).to(device).eval()
    frames = (
        torch.rand(2, 3, 64, 64, device=device)
        if small
        else torch.rand(8, 3, 256, 256, device=device)
    )
    expected = [exact.encode_frames(frames)], []
    for way in ('eager', 'compiled'):
        fast = MODELS.build(settings | dict(dtype='bfloat16'))
        fast.load_state_dict(exact.state_dict())
        fast.to(device).eval()
        if way == 'compiled':
            fast.network.encoder.compile(dynamic=False, backend=backend)
        work = partial(_encoded, fast, frames)
        yield Case('latents', way, torch.bfloat16, work, expected, way == 'compiled')


def _encoded(target: Any, frames: Tensor) -> Outputs:
    return [target.encode_frames(frames)], []


def compare_resumed(workload: Workload, device: str, steps: int = 2) -> Report:
    """Weights after a run, the same run again, and one that was saved and resumed half way.

    Args:
        workload: what is trained.
        device: where.
        steps: before the save, and after it.
    """
    report = Report(
        f'a run again, and resumed, {2 * steps} steps',
        vars(workload) | dict(device=device, steps=steps),
        ('run', 'weights that differ', 'largest difference', 'bit for bit'),
    )

    def train(count: int, stepper: Any = None) -> Any:
        stepper = stepper or make_stepper('ours', workload, device)
        for _ in range(count):
            stepper.step()
        return stepper

    expected = _weights(train(2 * steps))
    stored, half = BytesIO(), train(steps)
    torch.save(dict(model=half.model.state_dict(), optimizer=half.optimizer.state_dict()), stored)
    del half
    stored.seek(0)
    state = torch.load(stored, map_location=device, weights_only=True)
    resumed = make_stepper('ours', workload, device)
    resumed.model.load_state_dict(state['model'])
    resumed.optimizer.load_state_dict(state['optimizer'])
    runs = {'again': lambda: train(2 * steps), 'resumed': lambda: train(steps, resumed)}
    for name, run in runs.items():
        found = _weights(run())
        gaps = [float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)]
        differ = sum(gap != 0 for gap in gaps)
        row = {'weights that differ': differ, 'largest difference': max(gaps)}
        report.add(run=name, **row, **{'bit for bit': 'no' if differ else 'yes'})
    report.notes.append(
        'a kernel that adds up in any order makes a run differ from itself; resuming must add '
        'nothing to that'
    )
    return report


def _weights(stepper: Any) -> list[Tensor]:
    return [p.detach().float().cpu().clone() for p in stepper.model.parameters()]
