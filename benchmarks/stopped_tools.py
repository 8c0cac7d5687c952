"""The tools that ``stops.py`` stops, each as short as it can be, as forks of this process.

What a tool starts (``tools/train.py`` of the demo and the ablations) is a fork as well: the same
processes, sessions and signals as ever, without ten seconds of imports for each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import rich

from nextvid_mm.cli import main as call
from nextvid_mm.cli.check_resume import compare_checkpoints, compare_traces
from nextvid_mm.config_files import project_folder
from nextvid_mm.demo.data.spec import DemoSpec

SIGNALS = ('SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP', 'SIGKILL')
FULL, SECOND = 'full disk', 'second run'
KINDS = (*SIGNALS, FULL, SECOND)
FEW = ('SIGINT', 'SIGTERM', 'SIGKILL', FULL, SECOND)
INTERVAL = 5
SPEC = partial(
    DemoSpec,
    num_train=48,
    num_val=24,
    frames=16,
    num_images=22,
    num_val_images=11,
    probe_clips_per_class=2,
)
_SETTINGS = {
    **{f'train_cfg.stages.{stage}.steps': 6 for stage in range(3)},
    'train_cfg.stages.3.steps': 4,
    **{f'train_cfg.stages.{stage}.batch_size': 4 for stage in range(4)},
    'train_cfg.stages.3.num_frames': 16,
    'model.backbone.arch.depth': 1,
    'custom_hooks.2.interval': 8,
    'default_hooks.checkpoint.interval': INTERVAL,
    'default_hooks.checkpoint.save_last': True,
    'default_hooks.trace.type': 'TraceHook',
    'default_hooks.logger.interval': 4,
}
LAST_STEP = 22
OPTIONS = ['--cfg-options', *(f'{key}={value}' for key, value in _SETTINGS.items())]
_PROBE = """_base_ = {base!r}
train_cfg = dict(max_epochs=2, val_interval=2)
train_dataloader = dict(batch_size=24, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
"""


_HELD = [getattr(signal, name) for name in SIGNALS[:4]]


def fork() -> int:
    """As ``os.fork``; the child hears no signal before ``run_tool`` can deal with it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


class Fork(subprocess.Popen):
    """``python script.py arguments`` of this project as a fork of this process."""

    def _execute_child(self, args: Sequence[str], _: Any, begin: Any, *more: Any) -> None:
        environment, (inner, outer), (read, write) = more[3], more[7:9], more[9:11]
        error = more[12]
        self.pid = fork()
        if not self.pid:
            os.environ.update(environment or {})
            for number, end in enumerate((inner, write, error)):
                if end != -1:
                    os.dup2(end, number)
            run_tool([Path(args[1]).stem, *args[2:]], begin)
        self._child_created = True
        self._close_pipe_fds(inner, outer, read, write, *more[11:13])  # type: ignore[attr-defined]


def start(words: Sequence[str], log: Path, modules: Path | None = None) -> int:
    """Run a tool in a fork; returns its process number.

    Args:
        words: its name and command line.
        log: gets what it prints.
        modules: gets the names of what it has imported, a line each.
    """
    sys.stdout.flush()
    pid = fork()
    if not pid:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(output, number)
        run_tool(words, modules=modules)
    return pid


def import_named(modules: Path) -> None:
    """Import here what a tool has imported, so that later forks need not."""
    for name in modules.read_text().split('\n'):
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def set_signals() -> None:
    """Let signals do what they do in a new interpreter."""
    for name in SIGNALS[1:4]:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _ignore_signals() -> None:
    while True:
        try:
            for number in _HELD:
                signal.signal(number, signal.SIG_IGN)
            return
        except KeyboardInterrupt:  # it came before
            continue


def run_tool(
    words: Sequence[str], begin: Callable[[], Any] | None = None, modules: Path | None = None
) -> None:
    """What an interpreter would do with a script: lead a session, run the tool, end."""
    code = 1
    try:
        os.setsid()
        set_signals()
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        except KeyboardInterrupt:
            raise SystemExit(130) from None  # it came before the tool
        rich._console = None  # that of this process may be in the middle of a bar,
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # which has taken these, too
        if begin is not None:
            begin()
        call(words[0], list(words[1:]))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # an interpreter would print it
        traceback.print_exc()
    finally:
        _ignore_signals()  # one that comes now must not lead this fork back to where it began
        sys.stdout.flush()
        sys.stderr.flush()
        if modules is not None:
            modules.write_text('\n'.join(sys.modules))
        os._exit(code)


def make_small(root: Path) -> None:
    """Let demo and ablations of this process and its forks be small, below ``root``."""
    import nextvid_mm.config_files as files
    import nextvid_mm.demo.ablations.curves as curves
    import nextvid_mm.demo.data.spec as spec
    import nextvid_mm.demo.run as demo
    import nextvid_mm.engine.probe.features as features
    import nextvid_mm.report.build as build
    import nextvid_mm.stopping as stopping

    for question, path in demo.PROBES.items():
        own = root / f'probe_{question}.py'
        own.write_text(_PROBE.format(base=str(project_folder() / path)))
        demo.PROBES[question] = str(own)
    changes: dict[Any, dict[str, Any]] = {
        files: dict(home_folder=lambda: root),
        spec: dict(DemoSpec=SPEC),
        demo: dict(DemoSpec=SPEC, write_report=partial(demo.write_report, max_videos=12)),
        build: dict(_GENERATED_CLIPS=4, _MAPPED_CLIPS=8, _streaming=lambda *_: 'Not measured.'),
        curves: dict(GRID={}),
        features: dict(_KEEP_FREE_BYTES=0),
        stopping: dict(subprocess=_Subprocess()),
    }
    for module, values in changes.items():
        for name, value in values.items():
            setattr(module, name, value)


class _Subprocess:
    """The module of that name, whose children are forks."""

    Popen = Fork

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)


@dataclass
class Tool:
    """One tool as it is stopped.

    Attributes:
        name: of the tool.
        words: its command line, by the folder it writes to.
        compare: what differs between that folder and the undisturbed run's.
        kinds: how it is stopped.
        share: of all stops.
        runs: folder of its training, below its own; None without.
        seconds: that it takes undisturbed; measured.
    """

    name: str
    words: Callable[[Path], list[str]]
    compare: Callable[[Path, Path], list[str]]
    kinds: tuple[str, ...] = FEW
    share: float = 1.0
    runs: str | None = None
    seconds: float = dataclasses.field(default=0.0)


def tools(root: Path, checkpoint: Path) -> list[Tool]:
    """All that are stopped; ``checkpoint`` is of the undisturbed training."""
    clips, listed = 'data/demo/videos_train', 'data/demo/demo_train_list_videos.txt'

    def demo(folder: Path) -> list[str]:
        return ['demo', '--work-dir', str(folder), *OPTIONS]

    def ablations(folder: Path) -> list[str]:
        words = ['run_ablations', '--table', 'compare', '--rows', 'table2_full', 'untrained']
        words += ['--seeds', '0', '--work-dir', str(folder), *OPTIONS]
        return [*words, 'default_hooks.moments.fractions=[0.5,1.0]']

    def export(folder: Path) -> list[str]:
        words = ['convert_checkpoint', '--from', 'nextvid', '--to', 'safetensors']
        return [*words, str(checkpoint), str(folder / 'encoder.safetensors')]

    def pack(folder: Path) -> list[str]:
        words = ['pack_shards', listed, str(folder / 'packed'), '--root', clips]
        return [*words, '--per-shard', '6', '--gop', '4', '--workers', '2']

    def scan(folder: Path) -> list[str]:
        return ['scan_dataset', listed, '--root', clips, '--workers', '2', '--full',
                '--out', str(folder / 'scan')]  # fmt: skip

    def report(folder: Path) -> list[str]:
        words = ['report', str(checkpoint.parent), '--out', str(folder / 'report.html')]
        return [*words, '--max-videos', '12', '--device', 'cpu']

    def features(folder: Path) -> list[str]:
        words = ['extract_features', str(checkpoint), clips, '--out', str(folder / 'tokens')]
        return [*words, '--device', 'cpu']

    return [
        Tool('train', partial(train, 'train'), training, KINDS, 4, '.'),
        Tool('demo', demo, whole_demo, KINDS, 0.7, 'seed_0'),
        Tool('run_ablations', ablations, results, KINDS, 0.4, 'table2_full/seed_0'),
        Tool('scan_dataset', scan, files, share=4),
        Tool('pack_shards', pack, files, share=4),
        Tool('convert_checkpoint', export, files, share=3),
        Tool('extract_features', features, stored, share=3),
        Tool('report', report, files, share=0.5),
    ]


def train(tool: str, folder: Path) -> list[str]:
    """Command line of a training of the demo's model."""
    return [tool, 'nextvid/vit-tiny_demo.py', '--resume', '--work-dir', str(folder), *OPTIONS]


def training(ours: Path, theirs: Path) -> list[str]:
    """What differs between two trainings."""
    return [*compare_traces(ours, theirs)[:5], *compare_checkpoints(ours, theirs)[:5]]


def whole_demo(ours: Path, theirs: Path) -> list[str]:
    """What differs between two runs of the demo: weights, accuracies."""
    one, two = (json.loads((folder / 'results.json').read_text()) for folder in (ours, theirs))
    for record in (*one, *two):
        del record['seconds']
    found = [] if one == two else [f'results: {one}, not {two}']
    return [*training(ours / 'seed_0', theirs / 'seed_0'), *found, *files(ours, theirs, '*.html')]


def results(ours: Path, theirs: Path) -> list[str]:
    """What differs between two runs of the ablations."""
    found = files(ours, theirs, '*.json')
    for path in theirs.rglob('*.json'):
        if 'machine' not in (text := path.read_text()):
            continue
        one, two = json.loads((ours / path.relative_to(theirs)).read_text()), json.loads(text)
        for moment in (*one['moments'], *two['moments']):
            del moment['cpu_seconds'], moment['seconds']
        if str(one) != str(two):  # NaN is NaN
            found.append(f'{path.name}: {one}, not {two}')
    return found


def stored(ours: Path, theirs: Path) -> list[str]:
    """What differs between two stores of features, however they are cut into files."""
    from nextvid_mm.inferencers import FeatureStore

    one, two = (FeatureStore(folder / 'tokens') for folder in (ours, theirs))
    if sorted(one) != sorted(two):
        return [f'{ours}: features of {len(one)} files, not {len(two)}']
    return [f'{ours}: {key}' for key in two if not (one[key].features == two[key].features).all()]


def files(ours: Path, theirs: Path, pattern: str = '*') -> list[str]:
    """Files that one folder has and the other has not, or whose bytes differ without reason."""
    found = []
    for path in theirs.rglob(pattern):
        mine = ours / path.relative_to(theirs)
        if path.is_dir() or 'vis_data' in path.parts or path.suffix in ('.log', '.jsonl'):
            continue
        if not mine.is_file():
            found.append(f'{mine} is missing')
        elif path.suffix == '.safetensors':
            if not _same_tensors(mine, path):
                found.append(f'{mine} differs')
        elif path.suffix == '.tar':
            if mine.read_bytes() != path.read_bytes():
                found.append(f'{mine} differs')
        elif path.suffix in ('.txt', '.csv'):
            text = mine.read_text().replace(str(ours), str(theirs))
            if text != path.read_text():
                found.append(f'{mine} differs')
    return found


def _same_tensors(ours: Path, theirs: Path) -> bool:
    """Whether two files have the same tensors; their notes have no order."""
    from safetensors.numpy import load_file

    one, two = load_file(ours), load_file(theirs)
    return one.keys() == two.keys() and all((one[name] == two[name]).all() for name in two)
