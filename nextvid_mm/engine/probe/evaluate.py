"""Training and testing probes: what ``tools/test.py``, the demo and the ablations do.

The flags of MMAction2's tool keep name and meaning.
"""

import argparse
import copy
import itertools
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import nn

from nextvid_mm.config_files import checked_config
from nextvid_mm.data_checks import require_loaders_data
from nextvid_mm.engine.probe.results import (
    PROBE,
    REPEATED,
    RESULTS,
    config_of,
    differences,
    read_record,
)
from nextvid_mm.models.checkpoints import PREFIXES, read_checkpoint, stored_backbone
from nextvid_mm.registry import MODELS, RUNNERS, SCOPE, require_registered

_PROBE_WEIGHTS = 'cls_head.probes.'
_NUMBERS = itertools.count()


def fit_probe(
    config: Config,
    encoder: str | Path | None,
    work_dir: str | Path,
    seed: int | None = None,
    features: str | Path | None = None,
    **model: Any,
) -> dict[str, Any]:
    """Train a config's probes on a frozen encoder, evaluate them, and return the record.

    Args:
        config: a complete probe config; it is not changed.
        encoder: checkpoint with the encoder; None for the config's own ``model.encoder``.
        work_dir: where ``probe.pth``, ``probe_results.json`` and the log go.
        seed: of an untrained encoder's weights, the probes' first weights, the order of samples;
            None for the config's own.
        features: folder of cached features; None trains as the config says.
        model: further keys of ``model``, such as ``encoder_weights='untrained'`` or
            ``single_frame=True``.

    Returns:
        The content of ``probe_results.json``: the last validation.
    """
    cfg = copy.deepcopy(config)
    cfg.model.update(model)
    cfg.work_dir = str(work_dir)
    # MMEngine keeps loggers and visualizers by name: each training of a process has its own.
    cfg.experiment_name = f'{Path(work_dir).name}_{os.getpid()}_{next(_NUMBERS)}'
    if encoder is not None:
        cfg.model.encoder = str(encoder)
    if seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
    if features is not None:
        cache_features(cfg, features)
    _build(cfg).train()
    return read_record(Path(work_dir) / RESULTS)


def cache_features(cfg: Config, folder: str | Path) -> None:
    """Make a probe config train on cached features.

    Raises:
        ValueError: If its training knows none.
    """
    if (cfg.get('train_cfg') or {}).get('type') != 'ExactEpochLoop':
        raise ValueError(
            f"--cache-features is for probe configs, with train_cfg.type='ExactEpochLoop'; found "
            f'train_cfg={cfg.get("train_cfg")}'
        )
    cfg.train_cfg.features = str(folder)


def build_probe(config: Mapping[str, Any], encoder: str | None = None, **model: Any) -> nn.Module:
    """Build a config's ``ProbeRecognizer`` with its encoder loaded.

    Args:
        config: a probe config.
        encoder: checkpoint with the encoder; None for the config's own ``model.encoder``.
        model: further keys of ``model``.
    """
    settings = dict(copy.deepcopy(config['model']), _scope_=SCOPE, **model)
    if encoder is not None:
        settings['encoder'] = encoder
    probe = MODELS.build(settings)
    with quiet():
        probe.init_weights()
    return probe


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back MMEngine's report of several lines per initialised parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def run_test(args: argparse.Namespace) -> None:
    """Evaluate as the flags say.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If flags, config and checkpoint do not fit together, or a repeated evaluation
            gave other numbers.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.from_json is not None:
        repeat(args)
        return
    if args.checkpoint is None:
        raise ValueError('give CONFIG and CHECKPOINT, or --from-json RESULTS')
    cfg = load_test_config(args)
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'{args.checkpoint}: there is no such checkpoint')
    if cfg.model.type != 'ProbeRecognizer':
        if args.cache_features is not None:
            cache_features(cfg, args.cache_features)  # says what it is for
        cfg.load_from = args.checkpoint
        _build(cfg).test()
        return
    checkpoint = read_checkpoint(args.checkpoint)
    found = contents(checkpoint, args.checkpoint)
    if found != 'probe':
        train_probe(cfg, args, found)
        return
    if args.cache_features is not None:
        raise ValueError(
            f'{args.checkpoint} holds a trained probe already: leave out --cache-features'
        )
    use_probe(cfg, checkpoint, args.checkpoint)
    _build(cfg).test()


def load_test_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the flags.

    Raises:
        FileNotFoundError: If the config file does not exist.
        ValueError: If a key is unknown, a flag has a wrong value, or there is nothing to test.
    """
    cfg = checked_config(args.config, args.cfg_options)
    if args.dump is not None:
        if not args.dump.endswith(('.pkl', '.pickle')):
            raise ValueError(f'--dump {args.dump}: the name must end with .pkl')
        evaluators = cfg.get('test_evaluator') or []
        evaluators = evaluators if isinstance(evaluators, list | tuple) else [evaluators]
        dump = dict(type='DumpResults', out_file_path=args.dump)
        cfg.test_evaluator = [*evaluators, dump]
    if args.show or args.show_dir is not None:
        if 'visualization' not in cfg.default_hooks:
            raise ValueError('--show and --show-dir need default_hooks.visualization in the config')
        cfg.default_hooks.visualization.update(
            enable=True, show=args.show, out_dir=args.show_dir, interval=args.interval
        )
        if args.show:
            cfg.default_hooks.visualization.wait_time = args.wait_time
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)
    if cfg.get('test_dataloader') is None:
        raise ValueError(
            f'{args.config} has no test_dataloader: evaluate its encoder with a config of '
            'configs/probe/'
        )
    require_loaders_data(cfg)  # before a large model is built
    return cfg


def contents(checkpoint: Mapping[str, Any], path: str) -> str:
    """``probe``, or the names of the encoders in a checkpoint.

    Raises:
        ValueError: If it holds neither.
    """
    names = list(checkpoint['state_dict'])
    if any(name.startswith(_PROBE_WEIGHTS) for name in names):
        return 'probe'
    found = [key for key, prefix in PREFIXES.items() if any(n.startswith(prefix) for n in names)]
    if not found:
        parts = sorted({str(name).split('.')[0] for name in names})
        raise ValueError(
            f'{path} holds neither a probe ({_PROBE_WEIGHTS}*) nor an encoder '
            f'({", ".join(f"{prefix}*" for prefix in PREFIXES.values())}); its parts are {parts}'
        )
    return ', '.join(found)


def use_probe(cfg: Config, checkpoint: Mapping[str, Any], path: str) -> None:
    """Make a config evaluate a trained probe, with the encoder that is in its checkpoint."""
    cfg.load_from, cfg.resume = path, False
    if cfg.model.get('backbone') is None:
        cfg.model.backbone = stored_backbone(dict(checkpoint))
    cfg.model.encoder = None


def train_probe(cfg: Config, args: argparse.Namespace, found: str) -> None:
    """Train probes on the encoder of a checkpoint as the config says, and evaluate them."""
    cfg.model.encoder = args.checkpoint
    if args.cache_features is not None:
        cache_features(cfg, args.cache_features)
    runner = _build(cfg)
    runner.logger.info(
        f'{args.checkpoint} holds an encoder ({found}) and no probe: its probe is trained as '
        f'{args.config} says, and then tested'
    )
    runner.train()
    if cfg.test_dataloader == cfg.val_dataloader and args.dump is None and not args.show_dir:
        return  # the last validation was the test
    path = str(Path(cfg.work_dir) / PROBE)
    use_probe(cfg, read_checkpoint(path), path)
    _build(cfg).test()


def repeat(args: argparse.Namespace) -> None:
    """Evaluate again what a record says, and compare every number.

    Raises:
        FileNotFoundError: If the record or its checkpoint does not exist.
        ValueError: If a number differs.
    """
    if args.checkpoint is not None:
        raise ValueError('--from-json takes the checkpoint from the file: give no other')
    if args.config is not None:
        checked_config(args.config)  # whose custom_imports a plugin may need
    record = read_record(args.from_json)
    cfg = config_of(record, args.from_json)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    require_registered(cfg.to_dict(), args.from_json)
    path = checkpoint_of(record, args.from_json)
    checkpoint = read_checkpoint(path)
    use_probe(cfg, checkpoint, str(path))
    if record['split'] == 'val':
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        cfg.test_cfg = dict(type='TestLoop')
    cfg.launcher = args.launcher
    cfg.merge_from_dict(args.cfg_options or {})
    cfg.work_dir = args.work_dir or str(Path(args.from_json).resolve().parent / REPEATED)
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg[key] = None
    runner = _build(cfg)
    runner.test()
    if runner.rank:
        return
    found = differences(record, read_record(Path(cfg.work_dir) / RESULTS))
    if found:
        raise ValueError(f'{args.from_json} is not reproduced:\n  ' + '\n  '.join(found))
    MMLogger.get_current_instance().info(
        f'reproduced {args.from_json} exactly: top-1 {record["top1"]:.2f} % over '
        f'{record["num_samples"]} samples, and every other number'
    )


def checkpoint_of(record: Mapping[str, Any], source: str | Path) -> Path:
    """The record's checkpoint where it says, or beside the record.

    Raises:
        FileNotFoundError: If it is at neither place.
    """
    stated = Path(record['checkpoint'])
    for path in (stated, Path(source).parent / stated.name):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f'the checkpoint of {source}, {stated}, does not exist; put it beside the file'
    )


def _build(cfg: Config) -> Runner:
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
