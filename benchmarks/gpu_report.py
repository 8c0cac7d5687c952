"""What one GPU says in ten minutes, without data or weights: one JSON, and one page to attach.

Order: every way against the reference, resuming; then the grid of steps, as far as time allows;
then bounds and memory plans of what was measured, and decoding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.cells import PLACES, Cell, Grid, grid
from benchmarks.decoding import SPARSE, read_clips, write_video
from benchmarks.equality import compare_resumed, compare_ways, one_line
from benchmarks.report import Report, machine, shown
from benchmarks.roofline import DEVICES, Device, bound, trace
from benchmarks.timing import matmul_peak, side_by_side
from benchmarks.workload import Workload, make_batch, mask_sizes
from nextvid_mm.files import write_text
from nextvid_mm.plan.activations import ActivationCounter, build_on_meta
from nextvid_mm.plan.memory_plan import FLOAT32, count_weights, plan
from nextvid_mm.progress import track

# Of the whole time, for comparing ways; of what is left then, for steps. The rest is for bounds and
# plans.
WAYS_SHARE, STEPS_SHARE = 0.4, 0.8
BOUND = 20.0  # seconds, a guess


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        cells: of the grid.
        load: of a step: what is the same in all cells.
        resumed: what is trained to compare runs.
        small: sizes of the comparisons.
        backend: of ``torch.compile``.
    """

    cells: Sequence[Cell]
    load: Workload
    resumed: Workload
    small: bool = False
    backend: str = 'inductor'

    @classmethod
    def full(cls) -> Scale:
        """Ten minutes of a GPU."""
        load = Workload('large', 16, 16, 256, 'vae')
        return cls(grid(), load, Workload('small', 16, 4, 128))

    @classmethod
    def tiny(cls) -> Scale:
        """Seconds of a CPU: everything runs once."""
        load = Workload('tiny', 4, 2, 64)
        cells = [c for c in grid([('tiny', 4)], 1) if c.with_cp is not True]
        cells = [c for c in cells if c.attention == 'sdpa' or not c.compiled]
        return cls(cells, load, Workload('tiny', 4, 2), True, 'aot_eager')


class GpuReport:
    """Runs everything and keeps what it has found so far in a folder.

    Args:
        folder: for ``gpu.json`` and ``gpu.md``.
        device: where.
        minutes: in all, about.
        scale: how much is measured.
        clock: seconds; a test has its own.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        minutes: float,
        scale: Scale,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.folder, self.device, self.scale, self.clock = folder, device, scale, clock
        self.end = clock() + 60 * minutes
        self.reports: dict[str, Report] = {}
        self.failed: dict[str, str] = {}
        self.spent: dict[str, float] = {}  # seconds by part

    def run(self) -> list[Report]:
        """All parts; one that fails is named, and the others go on."""
        parts: dict[str, Callable[[], Report]] = {
            'ways': self._ways,
            'resumed': lambda: compare_resumed(self.scale.resumed, self.device),
            'peaks': self._peaks,
            'steps': self._steps,
            'bounds': self._bounds,
            'decoding': self._decoding,
        }
        for name, part in parts.items():
            start = self.clock()
            try:
                self._keep(name, part())
            except Exception as error:
                self.failed[name] = one_line(error)
            self.spent[name] = self.clock() - start
            self._write()
        return list(self.reports.values())

    def _keep(self, name: str, report: Report) -> None:
        self.reports[name] = report
        self._write()

    def _ways(self) -> Report:
        seconds = WAYS_SHARE * (self.end - self.clock())
        small = self.scale.small
        return compare_ways(self.device, self.scale.backend, small, seconds, self.clock)

    def _steps(self) -> Report:
        seconds = STEPS_SHARE * (self.end - self.clock())
        cells = Grid(self.scale.load, self.device, self.scale.backend, self.clock)
        return cells.measure_all(
            self.scale.cells, seconds, lambda report: self._keep('steps', report)
        )

    def _peaks(self) -> Report:
        """What the device reaches, against its data sheet where that is known."""
        report = Report('peaks', dict(device=self.device), ('what', 'measured', 'data sheet'))
        known, sides = self._known(), (256,) if self.scale.small else (4096, 8192)
        for dtype in (torch.bfloat16, torch.float32):
            peak = matmul_peak(self.device, dtype, sides, 3)
            sheet = known and (known.half if dtype is torch.bfloat16 else known.single)
            name = f'TFLOP/s of products in {str(dtype).removeprefix("torch.")}'
            report.add(what=name, measured=peak / 1e12, **{'data sheet': sheet and sheet / 1e12})
        numbers = 1 << (20 if self.scale.small else 28)
        x = torch.ones(numbers, device=self.device)
        y = torch.empty_like(x)
        series = side_by_side({'copy': lambda: y.copy_(x)}, 5, 2, label='bandwidth')
        rate = 2 * x.nbytes / min(series['copy'].seconds)
        sheet = known and known.bandwidth / 1e12
        report.add(what='TB/s of memory', measured=rate / 1e12, **{'data sheet': sheet})
        self.bandwidth, self.half = rate, report.rows[0]['measured'] * 1e12
        self.single = report.rows[1]['measured'] * 1e12
        return report

    def _known(self) -> Device | None:
        name = torch.cuda.get_device_name(self.device) if self._on_gpu else ''
        return next((d for key, d in DEVICES.items() if key.upper() in name.upper()), None)

    @property
    def _on_gpu(self) -> bool:
        return torch.device(self.device).type == 'cuda'

    def _bounds(self) -> Report:
        """Roofline bound and planned memory beside what was measured."""
        columns = ('encoder', 'frames', 'clips', 'blocks', 'attention', 'with_cp')
        report = Report(
            'measured against bound and memory plan',
            dict(device=self.device),
            (*columns, 'ms a clip', 'bound', 'over it', 'GB', 'planned', 'of the plan'),
        )
        measured = [row for row in self.reports['steps'].rows if row['state'] == 'ok']
        places = list(dict.fromkeys((row['encoder'], row['frames']) for row in measured))
        device = self._known() or Device(
            'measured', self.bandwidth, self.half, self.single, shares=(1.0, 1.0, 1.0)
        )
        skipped: list[tuple[str, int]] = []
        taken: list[float] = []
        for place in track(places, 'bounds', 'places'):
            start = self.clock()
            if self.end - start < max(taken, default=BOUND):
                skipped.append(place)
                continue
            load = replace(self.scale.load, size=place[0], frames=place[1], batch=1)
            expected = Expected(load, device)
            for row in measured:
                if (row['encoder'], row['frames']) == place:
                    report.add(**{key: row[key] for key in columns}, **expected.beside(row))
            taken.append(self.clock() - start)
        report.notes.append(
            f'bounds of {device.name}, without recomputation and optimiser: no step can be faster. '
            'Planned: activations under autocast, weights, gradients, moments, reference encoder, '
            'frozen target; not what the target needs while it runs'
        )
        if skipped:
            report.notes.append(f'no time for the bounds of {skipped}')
        return report

    def _decoding(self) -> Report:
        """Clips per second of one core, against those that the fastest step of a size takes."""
        report = Report(
            'decoding against steps',
            dict(device=self.device),
            ('encoder', 'frames', 'clips/s of the step', 'clips/s of a core', 'cores for a GPU'),
        )
        with TemporaryDirectory() as folder:
            video = write_video(Path(folder) / 'video.mp4', 2 if self.scale.small else 10, gop=48)
            clips = 2 if self.scale.small else 20
            work = {'read': lambda: read_clips(video, SPARSE, clips)}
            series = side_by_side(work, 3, 1, 'cpu', 'decoding')
        core = clips / series['read'].median
        best: dict[tuple[str, int], float] = {}
        for row in self.reports['steps'].rows:
            if row['state'] == 'ok':
                key = row['encoder'], row['frames']
                best[key] = min(best.get(key, float('inf')), row['ms a clip'])
        for (size, frames), milliseconds in best.items():
            rate = 1e3 / milliseconds
            # Decoding goes with the frames that are decoded; the measured clip has 16.
            own = core * SPARSE['num_frames'] / frames
            row = {'clips/s of the step': rate, 'clips/s of a core': own}
            report.add(encoder=size, frames=frames, **row, **{'cores for a GPU': rate / own})
        report.notes.append(
            'H.264, 340 x 256, from the local disk, without resizing and masks; longer clips by '
            'arithmetic'
        )
        return report

    def _write(self) -> None:
        """Write what there is, so that a run that dies has left it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        reports = {name: asdict(report) for name, report in self.reports.items()}
        found = dict(machine=machine(), device=self.device, seconds=self.spent)
        found |= dict(failed=self.failed, reports=reports)
        write_text(self.folder / 'gpu.json', json.dumps(found, indent=1, default=str) + '\n')
        write_text(self.folder / 'gpu.md', '\n'.join(self._page()) + '\n')

    def _page(self) -> Iterator[str]:
        yield '# One GPU\n'
        for key, value in machine().items():
            yield f'- {key}: {value}'
        yield '- seconds: ' + ', '.join(f'{name} {took:.0f}' for name, took in self.spent.items())
        if not self._on_gpu:
            yield '\n**Not a GPU: sizes of a test. Nothing here says how fast anything is.**'
        for name, error in self.failed.items():
            yield f'\n**{name} failed: {error}**'
        for report in self.reports.values():
            yield f'\n## {report.title}\n'
            yield '| ' + ' | '.join(report.columns) + ' |'
            yield '|---' * len(report.columns) + '|'
            for row in report.rows:
                yield '| ' + ' | '.join(shown(row.get(key, '')) for key in report.columns) + ' |'
            yield from (f'\n{note}' for note in report.notes)
            wrong = [row for row in report.rows if row.get('state') == 'failed']
            yield from (f'\n{row["cell"]}: {row["error"]}' for row in wrong)


class Expected:
    """Bound and memory plan of one size and number of frames.

    Args:
        load: the step.
        device: whose bound.
    """

    def __init__(self, load: Workload, device: Device):
        masks = mask_sizes(make_batch(load))
        self.eager, self.compiled = (1e3 * bound(counted, device) for counted in trace(load))
        self.counter = ActivationCounter(load.config(), [visible for visible, _ in masks])
        self.weights = count_weights(build_on_meta(load.config()))
        self.tau_samples = load.tau_samples

    def beside(self, row: dict[str, Any]) -> dict[str, Any]:
        """Columns for a measured row."""
        cell, time_taken = row['cell'], row['ms a clip']
        lowest = self.compiled if cell['compiled'] else self.eager
        recompute = dict.fromkeys(self.counter.parts, cell['with_cp'])
        kept = self.counter.count(cell['frames'], self.tau_samples, recompute)
        # One GPU has no buckets for others.
        total = plan(self.weights, kept, row['clips']).total - self.weights.trainable * FLOAT32
        found = {'ms a clip': time_taken, 'bound': lowest, 'over it': time_taken / lowest}
        found |= {'GB': row['GB'], 'planned': total / 1e9}
        return found | {'of the plan': row['GB'] and row['GB'] / (total / 1e9)}


def places_of(sizes: Sequence[str] | None, frames: Sequence[int] | None) -> list[Cell]:
    """The grid of some sizes and frames only."""
    chosen = [p for p in PLACES if p[0] in (sizes or [p[0]]) and p[1] in (frames or [p[1]])]
    return grid(chosen)
