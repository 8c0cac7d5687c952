"""Train a model: pretraining through a stage table, or any other MMEngine config."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvid_mm.cli.flags import add_launcher, add_shared
from nextvid_mm.run_folder import is_first_process, newest_checkpoint, own_folder
from nextvid_mm.stopping import Stopped

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

EPILOG = """\
examples:
  python tools/train.py configs/nextvid/vit-tiny_demo.py
  python tools/train.py CONFIG --dry-run                    # is everything there, does it fit?
  python tools/train.py CONFIG --resume                     # continue after a crash or a kill
  python tools/train.py CONFIG --seed 1 --work-dir work_dirs/second
  python tools/train.py CONFIG --cfg-options train_dataloader.num_workers=8
  bash tools/dist_train.sh CONFIG 8                         # eight processes on this machine
  python tools/train.py configs/probe/ssv2.py --cfg-options model.encoder=PRETRAINED.pth

One iteration is one optimiser step on the stage's global batch, whatever the number of processes.
tools/print_stages.py shows the schedule of a config without training. Ctrl-C, SIGTERM, SIGUSR1
and SIGHUP save a checkpoint and end the run with 130 (Ctrl-C) or 143; a later --resume continues
bit for bit. A second Ctrl-C ends it at once.
"""

# Set where torchrun, Slurm or tools/slurm_train.sh has started the processes again.
_RESTARTS = ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT', 'NEXTVID_RESTART_COUNT')
_PLAIN_WRAPPERS = ('OptimWrapper', 'AutocastOptimWrapper')


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add MMAction2's training flags, under the same names and with the same meaning."""
    add = parser.add_argument
    add('config', help='config file, such as configs/nextvid/vit-tiny_demo.py')
    add_shared(parser, '--work-dir', '(default: work_dirs/CONFIG_NAME)')
    add(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH',
        help='continue from the newest undamaged checkpoint in the work directory, or from PATH; '
        'starts afresh (with load_from: from its weights) where there is none',
    )
    add('--amp', action='store_true', help='autocast the forward pass to bfloat16 (CPU and CUDA)')
    add('--check', action='store_true', help='check settings and data, which is quick, and stop')
    add(
        '--dry-run',
        action='store_true',
        help='build everything, take one step of every stage on one batch, save, validate on one '
        'batch, and leave nothing behind',
    )
    add('--no-validate', action='store_true', help='do not validate during training')
    add(
        '--auto-scale-lr',
        action='store_true',
        help="scale learning rates by the table's batch size over auto_scale_lr.base_batch_size",
    )
    add_shared(parser, '--seed', "of the run (default: the config's, else random and logged)")
    add(
        '--diff-rank-seed',
        action='store_true',
        help='give each process its own seed (stage training keeps processes apart in any case)',
    )
    add('--deterministic', action='store_true', help='deterministic CUDA kernels; slower')
    add_shared(parser, '--cfg-options')
    add_shared(parser, '--cache-features')
    add_launcher(parser)


def run(args: argparse.Namespace) -> int:
    """Build the Runner and train; 130 or 143 if it was stopped, see ``stopping.py``."""
    cfg = load_config(args)
    if args.check:
        print(f'{args.config}: settings and data are in order')
        return 0
    if args.dry_run:
        from nextvid_mm.engine.dry_run import dry_run

        print(dry_run(cfg))
        return 0
    with own_folder(cfg.work_dir), environment_looked_at(cfg):
        return train(cfg, args)


@contextmanager
def environment_looked_at(cfg: Config) -> Iterator[None]:
    """After a failure before the first save, print what is bad about the machine."""
    try:
        yield
    except Exception:
        with suppress(Exception):  # the failure itself is what counts
            if is_first_process() and not (Path(cfg.work_dir) / 'last_checkpoint').exists():
                from nextvid_mm.environment import BAD, findings

                for finding in findings(dict(cfg.items())):
                    if finding.verdict == BAD:
                        print(finding, file=sys.stderr)
        raise


def train(cfg: Config, args: argparse.Namespace) -> int:
    """Train in a folder that this run has for itself; returns the exit code.

    Raises:
        Stopped: If a signal has ended the run; says what was saved.
    """
    from nextvid_mm.data_checks import named_weights
    from nextvid_mm.models.checkpoints import read_file
    from nextvid_mm.registry import build_runner

    for path in named_weights(dict(cfg.items())):
        read_file(path)  # says what a file is that is none, before a large model is built
    if args.cache_features is not None:
        from nextvid_mm.engine.probe.training import cache_features

        cache_features(cfg, args.cache_features)
    runner = build_runner(cfg)
    try:
        runner.train()
    except (KeyboardInterrupt, Stopped) as stop:
        name = stop.name if isinstance(stop, Stopped) else 'SIGINT'
        raise Stopped(name, _how_to_go_on(runner)) from stop
    except Exception as error:
        error.advice = _how_to_go_on(runner)  # type: ignore[attr-defined]
        raise
    stops = [hook.stopped_by for hook in runner.hooks if getattr(hook, 'stopped_by', None)]
    if not stops:
        return 0
    stopped = Stopped(stops[0], _how_to_go_on(runner))
    if runner.rank:
        return stopped.code  # process 0 says it
    raise stopped


def _how_to_go_on(runner: Runner) -> str:
    """Says what is saved, and how to go on."""
    note = Path(runner.work_dir) / 'last_checkpoint'
    if not note.is_file():
        return f'{runner.work_dir} holds no checkpoint yet: start again'
    return f'Saved: {note.read_text().strip()}. The same command with --resume goes on'


def load_config(args: argparse.Namespace) -> Config:
    """Read the config, apply the flags, and check keys and data before PyTorch is imported.

    Raises:
        FileNotFoundError: If the config file, the checkpoint to resume from or data does not exist.
        ValueError: If a key is unknown or a flag does not fit the config.
    """
    from nextvid_mm.config_files import check_config, checked_config
    from nextvid_mm.data_checks import require_loaders_data

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = checked_config(args.config)
    apply_flags(cfg, args)
    check_config(cfg, cfg.filename, args.cfg_options or ())
    require_loaders_data(cfg)
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
    if args.auto_scale_lr:
        _scale_lr(cfg)
    _set_randomness(cfg, args)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    _resume(cfg, args.resume)  # where weights of `load_from` are for, options have said by now


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


def _resume(cfg: Config, where: str | None) -> None:
    """Continue a run: ``auto`` from its last save, or from a file.

    Started again after an accident, any run goes on from its last save.
    """
    note = Path(str(cfg.work_dir), 'last_checkpoint')  # whatever it is: told after this
    if any(os.environ.get(name, '0') != '0' for name in _RESTARTS):
        where = where or (cfg.get('load_from') if cfg.get('resume') else None) or 'auto'
        if where != 'auto' and note.is_file():
            where = newest_checkpoint(cfg.work_dir)
    if where is None:
        return
    if where != 'auto':
        if not Path(where).exists():
            raise FileNotFoundError(f'--resume {where}: there is no such checkpoint')
        cfg.resume, cfg.load_from = True, where
        return
    # Beside `resume`, MMEngine takes it for the checkpoint that is continued.
    start, cfg.load_from = cfg.get('load_from'), None
    hook: Any = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    cfg.resume = start is None or note.is_file()
    if start is not None and str(hook.get('type')).endswith('SafeCheckpointHook'):
        hook.start_from, cfg.resume = start, True  # it finds out, for all processes
    elif not cfg.resume:
        cfg.load_from = start


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
    if randomness.get('deterministic'):
        # cuBLAS has an order of its own unless its workspace is fixed before the first call.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    cfg.randomness = randomness
