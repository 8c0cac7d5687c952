"""Settings of a config that contradict each other, or name what is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

LEVELS = ('CRITICAL', 'ERROR', 'WARNING', 'WARN', 'INFO', 'DEBUG', 'NOTSET')
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


class Problem(NamedTuple):
    """One mistake: where, and what is wrong in words."""

    path: str
    text: str

    @property
    def key(self) -> str:
        """The last key of the path."""
        return re.split(r'[.\[\]]+', self.path.rstrip(']'))[-1]


def _at(cfg: Any, *keys: str) -> Any:
    for key in keys:
        cfg = cfg.get(key) if isinstance(cfg, Mapping) else None
    return cfg


def _is_staged(cfg: Mapping[str, Any]) -> bool:
    return str(_at(cfg, 'train_cfg', 'type')).endswith('StageTrainLoop')


def table_is_alone(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """What the stage table decides must not be said in a second place."""
    if not _is_staged(cfg):
        return
    place = 'the stage table decides it: set %s in train_cfg.stages'
    if _at(cfg, 'optim_wrapper', 'optimizer', 'lr'):
        lr = cfg['optim_wrapper']['optimizer']['lr']
        yield Problem('optim_wrapper.optimizer.lr', f'found {lr!r}, but {place % "lr"}')
    if (count := _at(cfg, 'optim_wrapper', 'accumulative_counts')) not in (None, 1):
        text = f'found {count!r}, but {place % "micro_batch_size"}'
        yield Problem('optim_wrapper.accumulative_counts', text)
    for key in ('batch_size', 'batch_sampler'):
        if _at(cfg, 'train_dataloader', key) is not None:
            text = f'contradicts the stage table: remove it, {place % "batch_size"}'
            yield Problem(f'train_dataloader.{key}', text)
    sampler = _at(cfg, 'train_dataloader', 'sampler', 'type')
    if sampler is not None and str(sampler).rpartition('.')[2] in (
        *('InfiniteSampler', 'DefaultSampler', 'EpochSampler'),
    ):
        text = f'found {sampler!r}, but StageTrainLoop draws clips by ClipSampler: remove it'
        yield Problem('train_dataloader.sampler.type', text)


def loaders_have_workers(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """What only loaders with workers can be asked for."""
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if _at(cfg, key, 'num_workers') != 0:
            continue
        for setting in ('persistent_workers', 'prefetch_factor', 'timeout'):
            if value := _at(cfg, key, setting):
                text = f'found {value!r} beside num_workers=0: remove it, or have a worker'
                yield Problem(f'{key}.{setting}', text)


def names_exist(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """Words of which only some are known, and files that should be there."""
    level = cfg.get('log_level')
    if isinstance(level, str) and level.upper() not in LEVELS:
        yield Problem('log_level', f'found {level!r}, known are {", ".join(LEVELS)}')
    launcher = cfg.get('launcher')
    if launcher is not None and launcher not in LAUNCHERS:
        yield Problem('launcher', f'found {launcher!r}, known are {", ".join(LAUNCHERS)}')
    start = cfg.get('load_from')
    if isinstance(start, str) and ':' not in start and not Path(start).exists():
        yield Problem('load_from', f'found {start!r}: there is no such file')
    resume = cfg.get('resume')
    if isinstance(resume, str):
        text = f'found {resume!r}: give the file as --resume {resume}, or as load_from beside it'
        yield Problem('resume', text)


def folders_are_on_a_disk(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """A run writes to folders: an address would be the name of a local one."""
    for keys in (('work_dir',), ('default_hooks', 'checkpoint', 'out_dir')):
        if isinstance(folder := _at(cfg, *keys), str) and '://' in folder:
            text = f'found {folder!r}, which is no folder of a file system: mount it, or copy later'
            yield Problem('.'.join(keys), text)


def validation_is_whole(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """Training, validation and test need all of their parts, or none."""
    for name in ('val', 'test'):
        keys = [f'{name}_dataloader', f'{name}_cfg', f'{name}_evaluator']
        lacking = [key for key in keys if cfg.get(key) is None]
        if lacking and len(lacking) < len(keys):
            there = ' and '.join(key for key in keys if key not in lacking)
            yield Problem(lacking[0], f'is missing, but {there} is set: give all three, or none')


def parts_are_dicts(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """What is built needs settings."""
    for key in ('model', 'optim_wrapper', *(f'{n}_{k}' for n in _SPLITS for k in _SETTINGS)):
        value = cfg.get(key)
        if isinstance(value, str | int | float | list | tuple):
            yield Problem(key, f'found {value!r}, where a dict of settings is needed')


_SPLITS, _SETTINGS = ('train', 'val', 'test'), ('dataloader', 'cfg')


def classes_differ(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """A classifier needs two classes, and a name for each or none."""
    count = _at(cfg, 'model', 'cls_head', 'num_classes')
    if count == 1:
        yield Problem('model.cls_head.num_classes', 'found 1: there is nothing to tell apart')
    hooks = [*(cfg.get('custom_hooks') or ()), *(cfg.get('default_hooks') or {}).values()]
    for hook in hooks:
        names = hook.get('class_names') if isinstance(hook, Mapping) else None
        if isinstance(names, list | tuple) and isinstance(count, int) and len(names) != count:
            text = f'found {len(names)} names for model.cls_head.num_classes={count}'
            yield Problem(f'{hook.get("type")}.class_names', text)


def sizes_fit(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """Pictures must be whole patches, heads whole shares of the width."""
    backbone = _at(cfg, 'model', 'backbone') or {}
    size, patch = backbone.get('img_size'), backbone.get('patch_size', 16)
    if isinstance(size, int) and isinstance(patch, int) and size > 0 < patch and size % patch:
        text = f'found {size}, which is no multiple of patch_size={patch}'
        yield Problem('model.backbone.img_size', text)
    for name in ('arch', None):
        part = backbone.get(name) if name else _at(cfg, 'model', 'neck')
        if not isinstance(part, Mapping):
            continue
        width, heads = part.get('embed_dims'), part.get('num_heads')
        if isinstance(width, int) and isinstance(heads, int) and heads > 0 and width % heads:
            place = 'model.backbone.arch' if name else 'model.neck'
            text = f'found {heads}, which does not divide embed_dims={width}'
            yield Problem(f'{place}.num_heads', text)


def masks_fit(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """Masks number the patches of the encoder: by those of another size, it sees a corner."""
    patch = _at(cfg, 'model', 'backbone', 'patch_size')
    if patch is None and str(_at(cfg, 'model', 'backbone', 'type')).endswith('CausalViT'):
        patch = 16
    pipeline = _at(cfg, 'train_dataloader', 'dataset', 'pipeline')
    for place, step in enumerate(pipeline if isinstance(pipeline, list | tuple) else ()):
        found = _at(step, 'patch_size')
        if isinstance(patch, int) and isinstance(found, int) and patch > 0 < found != patch:
            text = f'found {found}, but model.backbone.patch_size is {patch}: make them equal'
            yield Problem(f'train_dataloader.dataset.pipeline[{place}].patch_size', text)


def sources_can_be_drawn(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """A mixture needs a source of some weight, and names that differ."""
    sources = _at(cfg, 'train_dataloader', 'dataset', 'sources')
    if not isinstance(sources, Sequence) or isinstance(sources, str):
        return
    weights = [source.get('weight', 1) for source in sources if isinstance(source, Mapping)]
    if not any(weight for weight in weights):
        yield Problem('train_dataloader.dataset.sources', 'no source has a weight above 0')
    names = [source.get('name') for source in sources if isinstance(source, Mapping)]
    if twice := {name for name in names if name is not None and names.count(name) > 1}:
        text = f'two sources are called {sorted(twice)[0]!r}'
        yield Problem('train_dataloader.dataset.sources', text)


def sharded_has_no_average(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """MMEngine's average of the weights copies the model, which a sharded one does not allow."""
    if cfg.get('runner_type') != 'ShardedRunner':
        return
    for place, hook in enumerate(cfg.get('custom_hooks') or ()):
        if _at(hook, 'type') == 'mmengine.EMAHook':
            text = (
                "found type='mmengine.EMAHook', which copies the whole model and does not work "
                "with runner_type='ShardedRunner': remove it from custom_hooks, or do not shard"
            )
            yield Problem(f'custom_hooks[{place}]', text)


# Arguments of engine.sharding.shard_model.
_SHARDING: tuple[str, ...] = (
    *('units', 'shard_size', 'gather_dtype', 'reshard_after_forward'),
    *('forward_prefetch', 'backward_prefetch', 'reduce_once'),
)


def sharding_is_known(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """A sharded model takes other keys than DDP."""
    if cfg.get('runner_type') != 'ShardedRunner':
        return
    for key in _at(cfg, 'model_wrapper_cfg') or ():
        if key not in _SHARDING:
            text = (
                f"is unknown with runner_type='ShardedRunner', which knows {', '.join(_SHARDING)}; "
                'model_wrapper_cfg = dict(_delete_=True, ...) drops the inherited keys of DDP'
            )
            yield Problem(f'model_wrapper_cfg.{key}', text)


def wrapper_is_set_once(cfg: Mapping[str, Any]) -> Iterator[Problem]:
    """MMEngine does not read the short way beside the long one."""
    if cfg.get('model_wrapper_cfg') is not None and 'find_unused_parameters' in cfg:
        text = 'has no effect beside model_wrapper_cfg, which has a key of that name: set it there'
        yield Problem('find_unused_parameters', text)


RULES = (
    parts_are_dicts,
    classes_differ,
    table_is_alone,
    loaders_have_workers,
    names_exist,
    folders_are_on_a_disk,
    validation_is_whole,
    sizes_fit,
    masks_fit,
    sources_can_be_drawn,
    sharded_has_no_average,
    sharding_is_known,
    wrapper_is_set_once,
)
"""Settings that contradict each other; each yields what it finds."""
