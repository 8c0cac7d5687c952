"""Say how good encoders are: k-NN, linear, attentive, fine-tuned, few labels; one table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nextvid_mm.cli.flags import add_shared
from nextvid_mm.run_folder import newest_checkpoint, own_folder

if TYPE_CHECKING:
    from nextvid_mm.compare import Row

GOES_ON = 'The same command goes on with the cells that are missing'
EPILOG = """\
An ENCODER is a checkpoint of tools/train.py or its work directory, a file of
tools/convert_checkpoint.py, a folder of transformers' save_pretrained, or a config whose
model.backbone is the encoder; NAME=ENCODER names its row. Data are configs of configs/probe/ by
name, or config files.

examples:
  python tools/evaluate.py work_dirs/demo/seed_0/iter_1500.pth --untrained --data demo
  python tools/evaluate.py ours=vit-l.pth vjepa2=vjepa2-l.pth dino=dinov2.pth --data ssv2 k400 \\
      --labels 1 10 100 --seeds 0 1 2 --work-dir work_dirs/table
  python tools/evaluate.py vit-l.pth --data k400 --finetune --labels 1 10
  python tools/evaluate.py vit-l.pth --data configs/probe/my_labels.py
  python tools/evaluate.py ours=iter_1500.pth videomae.pth --data demo --anticipation
  python tools/evaluate.py vit-l.pth --data configs/probe/my_actions.py --lead-times 0.5 1 2

The work directory holds evaluation.json, .md (rows for a model card), .png, and a file for every
cell. The same command with other encoders adds their rows.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('encoders', nargs='+', metavar='ENCODER', help='file, folder or config; or NAME=...')
    add('--data', nargs='+', required=True, metavar='NAME', help='such as demo k400, or configs')
    add(
        '--protocols',
        nargs='+',
        choices=('knn', 'linear', 'attentive'),
        default=['knn', 'linear', 'attentive'],
        help='on the frozen encoder (default: all)',
    )
    add(
        '--finetune',
        nargs='*',
        metavar='CONFIG',
        help='fine-tune, too: a config for each of --data (default: those of its name in '
        'configs/finetune/)',
    )
    add(
        '--labels',
        nargs='+',
        type=float,
        default=[100.0],
        metavar='PERCENT',
        help='shares of the labels of every class (default: 100)',
    )
    add(
        '--anticipation',
        nargs='*',
        type=float,
        metavar='PERCENT',
        help='accuracy against the share of the clip seen, too (default: 10 20 ... 100)',
    )
    add(
        '--lead-times',
        nargs='+',
        type=float,
        metavar='SECONDS',
        help='accuracy so many seconds before an action begins, of lists that say when, too',
    )
    add('--corruptions', action='store_true', help='accuracy on spoilt clips, too')
    add('--untrained', action='store_true', help='a row for new weights of the first encoder')
    add(
        '--interpolate',
        action='store_true',
        help="let encoders made for another size than the data's clips take part",
    )
    add(
        '--grid-once',
        action='store_true',
        help='train the grid of attentive probes with the first seed only; the other seeds train '
        'the setting that was best there',
    )
    add_shared(parser, '--weights')
    add_shared(parser, '--seeds', default=[0, 1, 2])
    add_shared(parser, '--work-dir', '(default: work_dirs/evaluate)', type=Path)
    add_shared(parser, '--cfg-options', '(of the probe configs)', default={})
    add_shared(parser, '--device')


def run(args: argparse.Namespace) -> None:
    """Fill what is missing and write the table."""
    from rich.console import Console

    from nextvid_mm.compare import Evaluation, make_table, write_results
    from nextvid_mm.compare.anticipation import SHARES, write_curves
    from nextvid_mm.compare.corruptions import write_rows
    from nextvid_mm.config_files import checked_config
    from nextvid_mm.data_checks import require_loaders_data

    console = Console(highlight=False)
    files = {Path(word).stem: _config_file(word, 'probe') for word in args.data}
    if len(files) < len(args.data):
        raise ValueError(f'--data {" ".join(args.data)}: two of them have the same name')
    data = {name: checked_config(file, args.cfg_options) for name, file in files.items()}
    for config in data.values():
        require_loaders_data(config)
    protocols, finetuning = list(args.protocols), {}
    if args.finetune is not None:
        words = args.finetune or list(files)
        if len(words) != len(files):
            raise ValueError(f'--finetune has {len(words)} configs for {len(files)} data sets')
        for name, word in zip(files, words, strict=True):
            finetuning[name] = checked_config(_config_file(word, 'finetune'))
            require_loaders_data(finetuning[name])
        protocols.append('finetuned')
    rows = [_row(word, args.weights) for word in args.encoders]
    if args.untrained:
        rows.append(_untrained(rows[0]))
    work_dir = args.work_dir or Path('work_dirs/evaluate')
    with own_folder(work_dir):
        evaluation = Evaluation(
            rows, data, work_dir, protocols, args.labels, args.seeds, finetuning,
            interpolate=args.interpolate, grid_once=args.grid_once, device=args.device,
            say=console.print,
        )  # fmt: skip
        records = evaluation.run()
        paths = write_results(records, work_dir)
        if args.anticipation is not None:
            curves = evaluation.anticipate(args.anticipation or SHARES)
            paths |= {f'early {k}': v for k, v in write_curves(curves, work_dir).items()}
        if args.lead_times is not None:
            curves = evaluation.anticipate(leads=args.lead_times)
            drawn = write_curves(curves, work_dir, 'lead_times')
            paths |= {f'ahead {k}': v for k, v in drawn.items()}
        spoilt = write_rows(evaluation.corruptions(), work_dir) if args.corruptions else None
    console.print(make_table(records))
    if spoilt is not None:
        console.print(spoilt)
    console.print(f'results: {", ".join(map(str, paths.values()))}')


def _config_file(word: str, folder: str) -> str:
    return word if word.endswith('.py') else f'configs/{folder}/{word}.py'


def _row(word: str, weights: str | None) -> Row:
    """The encoder that a word names."""
    from nextvid_mm.compare.run import Row, choose_weights
    from nextvid_mm.inferencers.opening import brought_backbone

    name, equals, path = word.partition('=')
    equals = '' if Path(word).exists() else equals  # there may be one in a path
    path = path if equals else word
    name = name if equals else Path(path).stem
    path = newest_checkpoint(path)
    backbone = brought_backbone(path)
    if not name or '/' in name or name.startswith('.'):
        raise ValueError(f'{word}: {name!r} is no name of a row')
    chosen = 'encoder' if backbone is not None else weights or choose_weights(path)
    return Row(name, path, chosen, backbone)


def _untrained(first: Row) -> Row:
    from nextvid_mm.compare.run import Row

    if first.backbone is not None:
        raise ValueError(f'--untrained needs a checkpoint as the first encoder, not {first.path}')
    return Row('untrained', first.path, 'untrained')
