"""Evaluate a trained probe, or train one on an encoder and evaluate it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvid_mm.cli.flags import add_launcher, add_shared
from nextvid_mm.run_folder import newest_checkpoint, own_folder

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

_PROBE_WEIGHTS = 'cls_head.probes.'

EPILOG = """\
examples:
  python tools/test.py configs/probe/ssv2.py PRETRAINED.pth                     # whole protocol
  python tools/test.py configs/probe/ssv2.py work_dirs/ssv2/probe.pth           # a trained probe
  python tools/test.py CONFIG OTHER.pth --work-dir work_dirs/other/ssv2
  python tools/test.py CONFIG PRETRAINED.pth --cache-features                   # encode once
  python tools/test.py CONFIG PROBE.pth --dump out.pkl      # also of a list without labels
  python tools/test.py --from-json work_dirs/ssv2/probe_results.json            # repeat exactly
  bash tools/dist_test.sh CONFIG CHECKPOINT 8                                   # eight processes

The work directory then holds probe_results.json (all numbers, and what is needed to repeat them)
and confusion.png; docs/evaluate.md explains both. Other MMEngine configs are tested as MMAction2's
tool does.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add MMAction2's flags for testing, and those that evaluate an encoder."""
    add = parser.add_argument
    add('config', nargs='?', help='config file, such as configs/probe/ssv2.py')
    add(
        'checkpoint',
        nargs='?',
        type=newest_checkpoint,
        help='a trained probe, or an encoder to train one on; also a work directory',
    )
    add_shared(parser, '--work-dir', '(default: work_dirs/CONFIG_NAME)')
    add('--dump', metavar='FILE.pkl', help='write predictions for MMAction2 analysis tools')
    add_shared(parser, '--cfg-options')
    add('--show-dir', metavar='FOLDER', help='draw predictions into pictures in FOLDER')
    add('--show', action='store_true', help='show predictions in a window')
    add('--interval', type=int, default=1, help='draw every n-th sample (default: 1)')
    add('--wait-time', type=float, default=2, help='seconds a window is shown (default: 2)')
    add_launcher(parser)
    # What happens anyway: old command lines have it.
    add('--train-probe', action='store_true', help=argparse.SUPPRESS)
    add(
        '--from-json',
        metavar='RESULTS',
        help='repeat the evaluation recorded in a probe_results.json and compare every number',
    )
    add_shared(parser, '--cache-features')


def run(args: argparse.Namespace) -> None:
    """Evaluate as the flags say.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If flags, config and checkpoint do not fit together, or a repeated evaluation
            gave other numbers.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.from_json is not None:
        if args.checkpoint is not None:
            raise ValueError('--from-json takes the checkpoint from the file: give no other')
        for name in ('dump', 'show', 'show_dir', 'cache_features'):
            if getattr(args, name):
                raise ValueError(
                    f'--from-json repeats what the file says: leave out --{name.replace("_", "-")}'
                )
        if not Path(args.from_json).is_file():
            raise FileNotFoundError(f'{args.from_json}: there is no such results file')
        repeat(args)
        return
    if args.checkpoint is None:
        raise ValueError('give CONFIG and CHECKPOINT, or --from-json RESULTS')
    cfg = load_test_config(args)
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'{args.checkpoint}: there is no such checkpoint')
    with own_folder(cfg.work_dir):
        evaluate(cfg, args)


def evaluate(cfg: Config, args: argparse.Namespace) -> None:
    """Test a probe or another model, or train a probe and test it.

    Raises:
        ValueError: If config and checkpoint do not fit together.
    """
    from nextvid_mm.engine.probe.training import cache_features
    from nextvid_mm.layers import check_state
    from nextvid_mm.models.checkpoints import read_checkpoint
    from nextvid_mm.registry import build_runner, unwrap

    if not str(cfg.model.type).endswith('ProbeRecognizer'):
        if args.cache_features is not None:
            cache_features(cfg, args.cache_features)  # says what it is for
        cfg.load_from, state = args.checkpoint, read_checkpoint(args.checkpoint)['state_dict']
        runner = build_runner(cfg)
        model = unwrap(runner.model)
        check_state(state, model.state_dict(), f'{args.checkpoint} is no result of {args.config}')
        test(runner)
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
    test(build_runner(cfg))


def test(runner: Runner) -> None:
    """Test; of data without labels, write the predictions that ``--dump`` asks for and no more.

    Raises:
        ValueError: If there are neither labels nor ``--dump``.
    """
    from mmengine.evaluator import DumpResults

    from nextvid_mm.datasets.labelled import has_labels
    from nextvid_mm.engine.probe.metric import UnlabelledCount

    loop = runner.test_loop
    dataset: Any = loop.dataloader.dataset
    dataset = getattr(dataset, 'inner', dataset)
    if not has_labels(dataset):
        where = dataset.ann_file or 'the test data'
        dumps = [metric for metric in loop.evaluator.metrics if isinstance(metric, DumpResults)]
        if not dumps:
            raise ValueError(
                f'{where}: no sample has a label, so there is nothing to measure; --dump FILE.pkl '
                'writes predictions without a metric'
            )
        runner.logger.warning(
            f'{where}: no sample has a label: predictions are written to '
            f'{dumps[0].out_file_path}, without a metric'
        )
        loop.evaluator.metrics = [UnlabelledCount(prefix='predictions'), *dumps]
    runner.test()


def load_test_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the flags.

    Raises:
        FileNotFoundError: If the config file does not exist.
        ValueError: If a key is unknown, a flag has a wrong value, or there is nothing to test.
    """
    from nextvid_mm.config_files import checked_config
    from nextvid_mm.data_checks import require_loaders_data

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
    from nextvid_mm.models.checkpoints import PREFIXES
    from nextvid_mm.models.checkpoints.encoder import weights_there

    names = list(checkpoint['state_dict'])
    if any(name.startswith(_PROBE_WEIGHTS) for name in names):
        return 'probe'
    if not (found := weights_there(dict(checkpoint))):
        parts = sorted({str(name).split('.')[0] for name in names})
        raise ValueError(
            f'{path} holds neither a probe ({_PROBE_WEIGHTS}*) nor an encoder '
            f'({", ".join(f"{prefix}*" for prefix in PREFIXES.values())}); its parts are {parts}'
        )
    return ', '.join(found)


def use_probe(cfg: Config, checkpoint: Mapping[str, Any], path: str) -> None:
    """Make a config evaluate a trained probe, with the encoder that is in its checkpoint."""
    from nextvid_mm.models.checkpoints import stored_backbone

    cfg.load_from, cfg.resume = path, False
    if cfg.model.get('backbone') is None:
        cfg.model.backbone = stored_backbone(dict(checkpoint))
    cfg.model.encoder = None


def train_probe(cfg: Config, args: argparse.Namespace, found: str) -> None:
    """Train probes on the encoder of a checkpoint as the config says, and evaluate them."""
    from nextvid_mm.engine.probe.results import PROBE
    from nextvid_mm.engine.probe.training import cache_features
    from nextvid_mm.models.checkpoints import read_checkpoint
    from nextvid_mm.registry import build_runner

    cfg.model.encoder = args.checkpoint
    if args.cache_features is not None:
        cache_features(cfg, args.cache_features)
    runner = build_runner(cfg)
    runner.logger.info(
        f'{args.checkpoint} holds an encoder ({found}) and no probe: its probe is trained as '
        f'{args.config} says, and then tested'
    )
    runner.train()
    if cfg.test_dataloader == cfg.val_dataloader and args.dump is None and not args.show_dir:
        return  # the last validation was the test
    path = str(Path(cfg.work_dir) / PROBE)
    use_probe(cfg, read_checkpoint(path), path)
    test(build_runner(cfg))


def repeat(args: argparse.Namespace) -> None:
    """Evaluate again what a record says, and compare every number.

    Raises:
        FileNotFoundError: If the record or its checkpoint does not exist.
        ValueError: If a number differs.
    """
    from mmengine.logging import MMLogger

    from nextvid_mm.config_files import checked_config
    from nextvid_mm.engine.probe.results import (
        REPEATED,
        RESULTS,
        checkpoint_of,
        config_of,
        differences,
        read_record,
    )
    from nextvid_mm.models.checkpoints import read_checkpoint
    from nextvid_mm.registry import build_runner, require_registered

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
    runner = build_runner(cfg)
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
