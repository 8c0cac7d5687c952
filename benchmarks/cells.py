"""A grid of training steps on one device: size, frames, compiled or not, attention, recomputation.

The most telling cells come first; those that a time budget leaves no room for are named.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from benchmarks.equality import one_line
from benchmarks.report import Report
from benchmarks.step import Stepper
from benchmarks.timing import Series, timed
from benchmarks.workload import Workload, build_model, make_batch, precision
from nextvid_mm.layers import set_attention_backend
from nextvid_mm.models.algorithms import NextVid

# Sizes and video frames, most telling first.
PLACES = (
    ('large', 16), ('giant', 64), ('giant', 16), ('base', 16), ('large', 64),
    ('huge', 16), ('small', 16), ('huge', 64), ('base', 64), ('small', 64),
)  # fmt: skip
# Compiled, attention, recomputation.
WAYS: tuple[tuple[bool, str, bool | str], ...] = (
    (True, 'sdpa', False), (False, 'sdpa', False), (True, 'flex', False),
    (True, 'sdpa', 'products'), (False, 'sdpa', 'products'), (False, 'sdpa', True),
    (True, 'sdpa', True), (False, 'flex', False), (True, 'flex', 'products'),
    (True, 'flex', True), (False, 'flex', 'products'), (False, 'flex', True),
)  # fmt: skip
WARM_UP, REPEATS = 2, 5
COMPILED, EAGER = 90.0, 20.0  # seconds of a cell, guesses
COLUMNS = (
    'encoder', 'frames', 'clips', 'blocks', 'attention', 'with_cp',
    'ms a clip', '±', 'GB', 'first step s', 'state',
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One kind of step; ``clips`` are tried, then half as many, and so on.

    Attributes:
        size: of the encoder.
        frames: video frames.
        clips: at once, at most.
        compiled: or operator by operator.
        attention: ``sdpa`` or ``flex``.
        with_cp: of all networks.
    """

    size: str
    frames: int
    clips: int
    compiled: bool
    attention: str
    with_cp: bool | str

    @property
    def row(self) -> dict[str, Any]:
        """What a report says of it."""
        blocks = 'compiled' if self.compiled else 'eager'
        row = dict(encoder=self.size, frames=self.frames, blocks=blocks)
        return row | dict(attention=self.attention, with_cp=str(self.with_cp), cell=asdict(self))


def grid(places: Sequence[tuple[str, int]] = PLACES, clips_of_16_frames: int = 16) -> list[Cell]:
    """All cells, the most telling first: places and ways take turns.

    Args:
        places: sizes and frames, in this order.
        clips_of_16_frames: at once; of longer clips accordingly fewer.
    """
    ranked = [
        (2 * n + m, m, Cell(size, frames, max(1, clips_of_16_frames * 16 // frames), *way))
        for n, (size, frames) in enumerate(places)
        for m, way in enumerate(WAYS)
    ]
    return [cell for *_, cell in sorted(ranked, key=lambda entry: entry[:2])]


class Grid:
    """Measures cells until the time is up.

    Args:
        load: everything of a workload that is the same in all cells.
        device: where.
        backend: of ``torch.compile``.
        clock: seconds; a test has its own.
    """

    def __init__(
        self,
        load: Workload,
        device: str,
        backend: str = 'inductor',
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.load, self.device, self.backend, self.clock = load, device, backend, clock
        self.taken: dict[Cell, float] = {}  # seconds, with everything: models, compilation, steps

    def measure_all(
        self, cells: Sequence[Cell], seconds: float, note: Callable[[Report], None] = lambda _: None
    ) -> Report:
        """Measure cells in order; what no time is left for is named.

        Args:
            cells: the most telling first.
            seconds: for all.
            note: called after every cell: a run that dies has left what it found.
        """
        report = Report('steps', vars(self.load) | dict(device=self.device), COLUMNS)
        end, dropped = self.clock() + seconds, []
        for cell in cells:
            start = self.clock()
            if end - start < self.expected(cell):
                dropped.append(cell)
                continue
            report.add(**cell.row, **self.measure(cell, end))
            self.taken[cell] = self.clock() - start
            note(report)
        report.notes.append(
            f'{len(report.rows)} of {len(cells)} cells. A step: preprocessing, losses, gradients, '
            'fused AdamW, moving average. GB: largest allocation of PyTorch'
        )
        if dropped:
            names = '; '.join(
                ' '.join(map(str, (c.size, c.frames, *list(c.row.values())[2:5]))) for c in dropped
            )
            report.notes.append(f'no time for {len(dropped)} cells: {names}')
        return report

    def expected(self, cell: Cell) -> float:
        """Seconds of a cell: of its likes so far the longest; a guess before the first of them."""
        alike = {c: s for c, s in self.taken.items() if c.compiled == cell.compiled}
        same = [s for c, s in alike.items() if (c.size, c.frames) == (cell.size, cell.frames)]
        return max(same or alike.values(), default=COMPILED if cell.compiled else EAGER)

    def measure(self, cell: Cell, end: float = float('inf')) -> dict[str, Any]:
        """Time and memory of a cell, with fewer clips where memory does not suffice.

        Args:
            cell: what.
            end: by the clock; as long as the last try took must be left for another.
        """
        clips, last = cell.clips, ''
        while clips:
            start = self.clock()
            try:
                return dict(clips=clips) | self._measure(replace(cell, clips=clips))
            except (torch.OutOfMemoryError, MemoryError):
                last = f'no memory for {clips}'
            except Exception as error:  # the other cells may do
                return dict(clips=clips, state='failed', error=one_line(error))
            finally:
                self._clear()
            clips //= 2
            now = self.clock()
            if clips and end - now < now - start:
                return dict(clips=2 * clips, state=f'{last}, no time for fewer')
        return dict(clips=1, state=last)

    def _measure(self, cell: Cell) -> dict[str, Any]:
        stepper, on_gpu = self._stepper(cell), torch.device(self.device).type == 'cuda'
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        losses, first = timed(stepper.step)
        for _ in range(WARM_UP - 1):
            stepper.step()
        series = Series(tuple(timed(stepper.step)[1] for _ in range(REPEATS)))
        peak = torch.cuda.max_memory_allocated(self.device) / 1e9 if on_gpu else None
        return {
            'ms a clip': 1e3 * series.median / cell.clips,
            '±': f'{series.spread:.0%}',
            'GB': peak,
            'first step s': first,
            'state': 'ok' if all(x == x for x in losses.values()) else 'loss not finite',
            'loss': sum(losses.values()),
            'seconds': series.seconds,
        }

    def _stepper(self, cell: Cell) -> Stepper:
        load = replace(
            self.load, size=cell.size, frames=cell.frames, batch=cell.clips, with_cp=cell.with_cp
        )
        model = _build(load, self.device)
        set_attention_backend(model, cell.attention)
        if cell.compiled:
            model.compile_blocks(backend=self.backend)
        return Stepper(model, make_batch(load), precision(self.device))

    def _clear(self) -> None:
        gc.collect()
        torch._dynamo.reset()  # or compiled code would count for the cell after
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _build(load: Workload, device: str) -> NextVid:
    """Weights are drawn where they are needed: a CPU takes half a minute for ViT-G's."""
    try:
        with torch.device(device):
            return build_model(load, device)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # of a part that must be built on the host
        return build_model(load, device)
