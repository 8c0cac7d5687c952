"""What the flags of ``tools/train.py`` do to a config; the flags are MMAction2's."""

import argparse
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from nextvid_mm.datasets.checks import require_loaders_data
from nextvid_mm.engine.config_check import check_config

_PLAIN_WRAPPERS = ('OptimWrapper', 'AutocastOptimWrapper')
# What a wrong config, missing data or an absent optional package raises; anything else is a fault
# of the program.
_USER_ERRORS = (ValueError, TypeError, KeyError, FileNotFoundError, ImportError)


@contextmanager
def errors_in_one_line(tool: str, show_traceback: bool = False) -> Iterator[None]:
    """End the program with one line that says what is wrong with the config or the data.

    Args:
        tool: Name of the command, which begins the line.
        show_traceback: Print where the error came from, too (``log_level='DEBUG'``).
    """
    try:
        yield
    except _USER_ERRORS as error:
        if show_traceback:
            traceback.print_exc()
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        hint = '' if show_traceback else " (log_level='DEBUG' in the config shows where)"
        sys.exit(f'{tool}: error: {text}{hint if isinstance(error, TypeError | KeyError) else ""}')


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    """Add MMAction2's training flags, under the same names and with the same meaning."""
    add = parser.add_argument
    add('config', help='config file, such as configs/nextvid/vit-tiny_demo.py')
    add('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG_NAME)')
    add(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH',
        help='continue from the newest undamaged checkpoint in the work directory, or from PATH; '
        'starts afresh where there is none',
    )
    add('--amp', action='store_true', help='autocast the forward pass to bfloat16 (CPU and CUDA)')
    add('--no-validate', action='store_true', help='do not validate during training')
    add(
        '--auto-scale-lr',
        action='store_true',
        help="scale learning rates by the table's batch size over auto_scale_lr.base_batch_size",
    )
    add('--seed', type=int, help="seed of the run (default: the config's, else random and logged)")
    add(
        '--diff-rank-seed',
        action='store_true',
        help='give each process its own seed (stage training keeps processes apart in any case)',
    )
    add('--deterministic', action='store_true', help='deterministic CUDA kernels; slower')
    add(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override config values, such as train_dataloader.num_workers=4 or '
        'train_cfg.stages.0.steps=100; lists as key="[a,b]", without spaces',
    )
    add(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how processes were started (default: one process); tools/dist_train.sh sets it',
    )
    add('--local_rank', '--local-rank', type=int, default=0, help='set by launchers')


def load_config(args: argparse.Namespace) -> Config:
    """Read the config, apply the flags and check that every key has a reader.

    Raises:
        FileNotFoundError: If the config file or the checkpoint to resume from does not exist.
        ValueError: If a key is unknown or a flag does not fit the config.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = checked_config(args.config)
    apply_flags(cfg, args)
    check_config(cfg, args.config, args.cfg_options or ())
    require_loaders_data(cfg)  # at once: building a large model takes a minute
    return cfg


def checked_config(path: str, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config, apply ``--cfg-options`` and check that every key has a reader.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a key is unknown.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'config file {path} does not exist; see configs/')
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(options or {}))
    check_config(cfg, path, options or ())
    return cfg


def apply_flags(cfg: Config, args: argparse.Namespace) -> None:
    """Write the flags into the config; ``--cfg-options`` comes last and wins."""
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)
    if args.amp:
        _use_autocast(cfg)
    if args.resume is not None:
        _resume(cfg, args.resume)
    if args.auto_scale_lr:
        _scale_lr(cfg)
    _set_randomness(cfg, args)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)


def _use_autocast(cfg: Config) -> None:
    if cfg.optim_wrapper.get('constructor', '').endswith('ProbeOptimWrapperConstructor'):
        # The frozen encoder is the cost of probing, and the only part that autocast reaches.
        if cfg.model.get('dtype') in (None, 'auto'):
            cfg.model.dtype = 'bfloat16'
        return
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in (*_PLAIN_WRAPPERS, 'AmpOptimWrapper'):
        raise ValueError(
            f'--amp cannot change optim_wrapper.type={kind!r}; it knows {_PLAIN_WRAPPERS}'
        )
    if kind in _PLAIN_WRAPPERS:
        cfg.optim_wrapper.type = 'nextvid_mm.AutocastOptimWrapper'
        if cfg.optim_wrapper.get('dtype') is None:
            cfg.optim_wrapper.dtype = 'bfloat16'


def _resume(cfg: Config, where: str) -> None:
    cfg.resume = True
    if where == 'auto':
        cfg.load_from = None
        return
    if not Path(where).exists():
        raise FileNotFoundError(f'--resume {where}: there is no such checkpoint')
    cfg.load_from = where


def _scale_lr(cfg: Config) -> None:
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise ValueError(
            '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config: the '
            'global batch size its learning rates were chosen for'
        )
    cfg.auto_scale_lr.enable = True


def _set_randomness(cfg: Config, args: argparse.Namespace) -> None:
    """Flags that were given win over the config; MMAction2 would drop them without a word."""
    randomness = dict(cfg.get('randomness') or dict(seed=None))
    if args.seed is not None:
        randomness['seed'] = args.seed
    if args.diff_rank_seed:
        randomness['diff_rank_seed'] = True
    if args.deterministic:
        randomness['deterministic'] = True
    cfg.randomness = randomness
