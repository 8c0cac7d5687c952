"""What a run needs of the machine: versions, processors, memory, files, disk, codecs.

Every check gives a verdict and, if it is not good, what to do about it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement

from nextvid_mm.config_files import project_folder

GOOD, WARNING, BAD = 'good', 'warning', 'bad'
_TOGETHER = ('torch', 'torchvision', 'mmengine', 'mmaction2', 'mmpretrain', 'numpy', 'av')
_SHARED_MEMORY_MIB = 512
_OPEN_FILES = 4096


class Finding(NamedTuple):
    """One check.

    Attributes:
        name: what was looked at.
        verdict: :data:`GOOD`, :data:`WARNING` or :data:`BAD`.
        found: what there is.
        fix: what to do; '' where it is good.
    """

    name: str
    verdict: str
    found: str
    fix: str = ''

    def __str__(self) -> str:
        fix = f': {self.fix}' if self.fix else ''
        return f'{self.verdict:8} {self.name}: {self.found}{fix}'


def findings(config: Mapping[str, Any] | None = None, work_dir: str | Path = '.') -> list[Finding]:
    """All checks.

    Args:
        config: what will be run: its loaders' workers, its model's checkpoints.
        work_dir: where it will write.
    """
    settings = config or {}
    checks = (
        _versions(),
        _processors(settings),
        _gpu(),
        _shared_memory(settings),
        _open_files(),
        _disk(settings, Path(settings.get('work_dir') or work_dir)),
        _codecs(),
    )
    return [finding for check in checks for finding in check]


def _versions() -> Iterator[Finding]:
    wanted = tested_versions()
    found = f'{sys.version.split()[0]}'
    good = sys.version_info >= (3, 10)
    yield Finding('Python', GOOD if good else BAD, found, '' if good else 'install 3.10 or later')
    for name in _TOGETHER:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(name, BAD, 'not installed', f'pip install {name}, as the README says')
            continue
        tested = wanted.get(name)
        if tested is None or version.partition('+')[0] == tested:
            yield Finding(name, GOOD, version)
        else:
            fix = f'tested with {tested}; pip install {name}=={tested} if something fails'
            yield Finding(name, WARNING, version, fix)


def tested_versions() -> dict[str, str]:
    """Versions that are tested together, as ``constraints.txt`` of a checkout has them."""
    path = project_folder() / 'constraints.txt'
    if not path.is_file():
        return {}
    lines = re.findall(r'^[\w.-]+==.+$', path.read_text(encoding='utf-8'), re.M)
    wanted = [Requirement(line) for line in lines]
    return {
        one.name: str(one.specifier).removeprefix('==')
        for one in wanted
        if one.marker is None or one.marker.evaluate()
    }


def _processors(config: Mapping[str, Any]) -> Iterator[Finding]:
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    )
    workers = _workers(config)
    if workers > cores:
        fix = f'lower train_dataloader.num_workers={workers} to at most {cores}'
        yield Finding('cores', WARNING, str(cores), fix)
    else:
        yield Finding('cores', GOOD, str(cores))


def _workers(config: Mapping[str, Any]) -> int:
    return int((config.get('train_dataloader') or {}).get('num_workers') or 0)


def _gpu() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        fix = 'training goes on the CPU; for a GPU, check `nvidia-smi` and the driver'
        if built is None:
            fix = 'this PyTorch is built without CUDA; training goes on the CPU'
        yield Finding('GPU', WARNING, 'none', fix)
        return
    for number in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(number)
        try:
            torch.ones(8, device=f'cuda:{number}').sum().item()
        except RuntimeError as error:
            fix = 'install a PyTorch built for this GPU and driver'
            text = str(error).partition('\n')[0]
            yield Finding(f'GPU {number}', BAD, f'{name} runs no kernel ({text})', fix)
            continue
        free, total = (count / 2**30 for count in torch.cuda.mem_get_info(number))
        found = f'{name}, {free:.0f} of {total:.0f} GiB free'
        if free < total / 2:
            yield Finding(f'GPU {number}', WARNING, found, 'somebody else uses it: see nvidia-smi')
        else:
            yield Finding(f'GPU {number}', GOOD, found)


def _shared_memory(config: Mapping[str, Any]) -> Iterator[Finding]:
    path = Path('/dev/shm')
    if not path.is_dir():
        return
    free = shutil.disk_usage(path).free / 2**20
    need = _SHARED_MEMORY_MIB if config == {} else 64 * max(1, _workers(config))
    if free < need:
        fix = 'start the container with --shm-size=16g or --ipc=host, or lower num_workers'
        yield Finding('shared memory', BAD, f'{free:,.0f} MiB free', fix)
    else:
        yield Finding('shared memory', GOOD, f'{free:,.0f} MiB free')


def _open_files() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # not Unix
        return
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _OPEN_FILES:
        yield Finding('open files', WARNING, f'limit {soft}', f'ulimit -n {4 * _OPEN_FILES}')
    else:
        yield Finding('open files', GOOD, 'no limit' if soft < 0 else f'limit {soft}')


def _disk(config: Mapping[str, Any], folder: Path) -> Iterator[Finding]:
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        yield Finding('disk', BAD, f'{there} cannot be written', 'give another --work-dir')
        return
    free = shutil.disk_usage(there).free
    need = checkpoint_bytes(config)
    found = f'{free / 2**30:,.1f} GiB free in {there}'
    if need and free < need:
        fix = f'the checkpoints take {need / 2**30:,.1f} GiB: free some, or give another --work-dir'
        yield Finding('disk', BAD, found, fix)
    else:
        yield Finding('disk', GOOD, found)


def checkpoint_bytes(config: Mapping[str, Any]) -> int:
    """Most bytes that the checkpoints of a run take at a time; 0 if its model cannot be built.

    Weights, reference and two moments of the optimiser, for as many as are kept and one more.
    """
    if not config.get('model'):
        return 0
    import torch
    from mmengine.registry import DefaultScope

    from nextvid_mm.registry import MODELS, SCOPE

    with DefaultScope.overwrite_default_scope(SCOPE), torch.device('meta'):
        try:
            model = MODELS.build(config['model'])
        except (ValueError, TypeError, KeyError, OSError, RuntimeError):
            return 0  # what is wrong with it is said by training
    weights = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kept = ((config.get('default_hooks') or {}).get('checkpoint') or {}).get('max_keep_ckpts', 2)
    return 4 * (weights + 2 * trained) * (1 + max(1, kept))


def _codecs() -> Iterator[Finding]:
    import av

    lacking = []
    for name in ('h264', 'hevc', 'vp9', 'av1', 'mpeg4'):
        try:
            av.Codec(name, 'r')
        except ValueError:
            lacking.append(name)
    if lacking:
        fix = 'pip install --force-reinstall av brings FFmpeg along'
        yield Finding('codecs', WARNING, f'PyAV cannot read {", ".join(lacking)}', fix)
    else:
        yield Finding('codecs', GOOD, 'H.264, HEVC, VP9, AV1, MPEG-4')
