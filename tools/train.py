"""Train a model: pretraining through a stage table, or any other MMEngine config."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.runner import Runner

from nextvid_mm.engine.cli import add_train_flags, errors_in_one_line, load_config
from nextvid_mm.engine.probe.evaluate import add_cache_flag, cache_features
from nextvid_mm.registry import RUNNERS

EPILOG = """\
examples:
  python tools/train.py configs/nextvid/vit-tiny_demo.py
  python tools/train.py CONFIG --resume                     # continue after a crash or a kill
  python tools/train.py CONFIG --seed 1 --work-dir work_dirs/second
  python tools/train.py CONFIG --cfg-options train_dataloader.num_workers=8
  bash tools/dist_train.sh CONFIG 8                         # eight processes on this machine
  python tools/train.py configs/probe/ssv2.py --cfg-options model.encoder=PRETRAINED.pth

One iteration is one optimiser step on the stage's global batch, whatever the number of processes.
tools/print_stages.py shows the schedule of a config without training. SIGTERM and SIGUSR1 save a
checkpoint and end the run; a later --resume continues bit for bit.
"""


def main() -> None:
    """Build the Runner and train; report a wrong config or missing file in one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_train_flags(parser)
    add_cache_flag(parser)
    args = parser.parse_args()
    with errors_in_one_line('train'):
        cfg = load_config(args)
    with errors_in_one_line('train', show_traceback=cfg.get('log_level') == 'DEBUG'):
        if args.cache_features is not None:
            cache_features(cfg, args.cache_features)
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        runner.train()


if __name__ == '__main__':
    main()
