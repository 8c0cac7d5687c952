"""Classify videos with a trained probe or a fine-tuned model: names and probabilities."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvid_mm.cli.flags import add_shared, device_of
from nextvid_mm.files import shown, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nextvid_mm.inferencers import Classifier, Prediction
    from nextvid_mm.inferencers.media import Media

EPILOG = """\
MODEL is a folder written by --save, the work directory of a probe or of fine-tuning, or two words,
CONFIG CKPT, as for tools/test.py. Inputs are videos (images for a classifier of images), folders,
lists (.txt, or tables whose start and end are seconds), or - for a list on the standard input.
Probabilities are those of tools/test.py --dump. Files that cannot be read are listed at the end;
the tool fails only if there is no other.

examples:
  python tools/predict.py work_dirs/ssv2 video.mp4
  python tools/predict.py configs/finetune/ssv2.py work_dirs/ssv2/iter_1000.pth videos/ \\
      --json predictions.json
  python tools/predict.py work_dirs/ssv2 --save checkpoints/my_model    # to give away as one thing
  python tools/predict.py checkpoints/my_model long.mp4 --segment 10 --stride 5 \\
      --timeline timelines --annotate annotated
  find videos -name '*.mp4' | python tools/predict.py checkpoints/my_model - --csv predictions.csv
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('model', metavar='MODEL', help='folder, work directory, or CONFIG CKPT')
    add('inputs', nargs='*', metavar='INPUT', help='videos, folders, lists, or -')
    add_shared(parser, '--root', '(default: here)', default='')
    add_shared(parser, '--columns')
    add('--top-k', type=int, default=5, help='labels of each file (default: %(default)s)')
    add('--classes', metavar='FILE', help="a class name a line, instead of the model's")
    add('--json', metavar='FILE', help='write predictions; - for the standard output')
    add('--csv', metavar='FILE', help='write predictions; - for the standard output')
    add('--annotate', metavar='FOLDER', help='write the videos again with their labels')
    add('--segment', type=float, help='cut videos into parts of so many seconds')
    add('--stride', type=float, help='seconds from part to part (default: no overlap)')
    add('--timeline', metavar='FOLDER', help='draw the labels of the parts over time, as PNG')
    add('--save', metavar='FOLDER', help='write the model into one folder: weights, config, names')
    add_shared(parser, '--batch-size', default=4)
    add_shared(parser, '--workers', 'that read videos', default=2)
    add_shared(parser, '--device')
    add_shared(parser, '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Classify, write and print.

    Raises:
        FileNotFoundError: If the model or a list is missing.
        ValueError: If the model does not fit together, or no file could be read.
    """
    from nextvid_mm.inferencers.opening import open_classifier
    from nextvid_mm.inferencers.predictions import classify_in_turn

    if args.top_k < 1:
        raise ValueError(f'--top-k {args.top_k} must be at least 1')
    if args.timeline and args.segment is None:
        raise ValueError('--timeline draws the parts of videos: give their length by --segment')
    classifier, inputs = open_classifier(
        [args.model, *args.inputs], args.classes, device_of(args), args.cfg_options
    )
    if args.save:
        classifier.save_pretrained(args.save)
        print(f'{args.save}: the model, as one folder', file=sys.stderr)
    if not inputs:
        if args.save:
            return
        raise ValueError('nothing to classify: give videos, folders or lists behind the model')
    paths = find_inputs(inputs, args.root, args.columns)
    settings = (args.segment, args.stride, args.batch_size, args.workers)
    found: list[Prediction] = []
    try:
        for one in classify_in_turn(classifier, paths, *settings):
            found.append(one)
    except BaseException:
        write_part(args, classifier.names, found)
        raise
    write(args, classifier, found)
    failed = {one.path: one.failure for one in found if one.failure is not None}
    for path, reason in failed.items():
        print(f'not read: {shown(path)}: {reason}', file=sys.stderr)
    if all(one.failure is not None for one in found):
        raise ValueError(f'none of {len(paths)} files could be read; the reasons are above')


def find_inputs(
    inputs: list[str], root: str, columns: Mapping[str, str] | None = None
) -> list[Media]:
    """Files that are meant, and parts of them; ``-`` is a list on the standard input."""
    from nextvid_mm.datasets.listed_clips import join
    from nextvid_mm.datasets.video.files import parse_list
    from nextvid_mm.inferencers import find_media

    paths: list[Media] = []
    for word in inputs:
        if word == '-':
            listed = parse_list(sys.stdin.buffer.read(), 'the standard input')
            paths += [join(root, file.path) for file in listed]
        else:
            paths += find_media([word], root, columns)
    if not paths:
        raise ValueError('the list on the standard input is empty')
    return list({str(media): media for media in paths}.values())


def write_part(args: argparse.Namespace, names: list[str], found: list[Prediction]) -> None:
    """Write what there is when something ends the work too early, and say how to go on."""
    targets = [target for target in (args.json, args.csv) if target]
    if found and targets:
        write_files(args, names, found)
        where = ' and '.join('the output' if target == '-' else target for target in targets)
        last = shown(found[-1].path)
        print(
            f'not complete: {len(found)} predictions, up to {last}, are in {where}; to go on, give '
            'this file and those behind it, and other names for --json and --csv',
            file=sys.stderr,
        )


def write_files(args: argparse.Namespace, names: list[str], found: list[Prediction]) -> None:
    """What ``--json`` and ``--csv`` ask for."""
    import json

    from nextvid_mm.inferencers.predictions import as_csv, as_data

    texts = dict(
        json=lambda: json.dumps(as_data(found, names, args.top_k), indent=1) + '\n',
        csv=lambda: as_csv(found, names, args.top_k),
    )
    for kind, text in texts.items():
        if (target := getattr(args, kind)) == '-':
            sys.stdout.write(text())
        elif target:
            write_text(target, text())


def write(args: argparse.Namespace, classifier: Classifier, found: list[Prediction]) -> None:
    """All that the flags ask for; a table, unless JSON or CSV goes to the standard output."""
    from nextvid_mm.inferencers.predictions import merge
    from nextvid_mm.progress import track

    names = classifier.names
    write_files(args, names, found)
    if '-' not in (args.json, args.csv):
        print_table(found, names, args.top_k)
    videos = [parts for parts in merge(found) if any(part.scores is not None for part in parts)]
    stems = output_names([parts[0].path for parts in videos])
    if args.timeline:
        from nextvid_mm.inferencers.annotated import draw_timeline

        for stem, parts in zip(stems, videos, strict=True):
            draw_timeline(Path(args.timeline) / f'{stem}.png', parts, names)
    if args.annotate:
        from rich.console import Console

        from nextvid_mm.inferencers.annotated import write_annotated

        pairs = list(zip(stems, videos, strict=True))
        console = Console(stderr=True)
        for stem, parts in track(pairs, 'writing videos', 'files', console=console):
            write_annotated(Path(args.annotate) / stem, parts, names)


def output_names(paths: list[str]) -> list[str]:
    """What pictures and videos about files are called: as the files, if these differ in name.

    Else as their paths; where those of two are written alike, numbers tell them apart.
    """
    paths = [shown(path) for path in paths]
    short = [Path(path).name for path in paths]
    if len(set(short)) == len(short):
        return short
    names: dict[str, None] = {}
    for path in paths:
        name = path.strip('./').replace('/', '_')
        tries = (name if number == 1 else f'{number}_{name}' for number in itertools.count(1))
        names[next(one for one in tries if one not in names)] = None
    return list(names)


def print_table(found: list[Prediction], names: list[str], k: int) -> None:
    """The likeliest classes of each file or segment."""
    from rich.console import Console
    from rich.table import Table

    segments = any(one.segment is not None for one in found)
    columns: list[Any] = ['file', *(['seconds'] if segments else []), 'label', 'probability']
    table = Table(*columns)
    for one in found:
        top = one.top(names, k)
        where = [f'{one.segment[0]:.1f} to {one.segment[1]:.1f}' if one.segment else '']
        labels = '\n'.join(entry['name'] for entry in top) or 'not read'
        shares = '\n'.join(f'{entry["probability"]:.3f}' for entry in top)
        table.add_row(shown(one.path), *(where if segments else []), labels, shares)
    Console().print(table)
