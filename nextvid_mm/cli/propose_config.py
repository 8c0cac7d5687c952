"""Propose configs for a folder of videos: pretraining, and with labels a probe and fine-tuning."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from nextvid_mm.cli.flags import add_shared

if TYPE_CHECKING:
    from rich.console import Console

    from nextvid_mm.plan.proposal import Proposal, Wishes
    from nextvid_mm.plan.step_time import Machine
    from nextvid_mm.plan.survey import Labels

EPILOG = """\
Looks at the videos with the reader of training, times a few real steps on this machine's CPU, or
forecasts them for GPUs by arithmetic from the data sheet, and writes complete configs that start as
they stand. Every choice is printed with its reason, and with what twice the hours would change.

examples:
  python tools/propose_config.py data/mine --cpu --hours 2 --dry-run
  python tools/propose_config.py data/mine --labels data/mine/labels.txt --gpus 1 --gpu-memory 24
  python tools/propose_config.py data/mine --labels TRAIN.txt VAL.txt --gpus 8 --gpu a100
  python tools/propose_config.py data/mine --from checkpoints/vjepa2-l.pth --gpus 1 --gpu h100

Without --gpus, steps are timed on the CPU. Labels are lists of "path label" lines, paths relative
to the folder; of a single list a fifth is kept for validation. Names of classes are taken from
label_map.txt beside the list.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('data', help='folder with videos, and perhaps pictures, anywhere below it')
    add('--labels', nargs='+', default=[], metavar='LIST', help='one list, or training, validation')
    add('--hours', type=float, default=24.0, help='of pretraining (default: %(default)g)')
    machine = parser.add_mutually_exclusive_group()
    machine.add_argument('--cpu', action='store_true', help="this machine's CPU (default)")
    machine.add_argument('--gpus', type=int, default=0, help='number of GPUs')
    add('--gpu-memory', type=float, help='GB of each GPU (default: that of --gpu, else 80)')
    add('--gpu', help='its name, such as a100 (default: the slowest of that memory)')
    add('--size', help='encoder: tiny, small, base, large, huge, giant (default: what fits)')
    add('--from', dest='start', metavar='CHECKPOINT', help='encoder to go on from')
    add_shared(parser, '--out', '(folder of the configs; default: configs/NAME_OF_DATA)', type=Path)
    add('--dry-run', action='store_true', help='print only')


def run(args: argparse.Namespace) -> None:
    """Look, decide, print and write."""
    machine, wishes = _machine(args), _wishes(args)

    from mmengine.registry import init_default_scope
    from rich.console import Console

    from nextvid_mm.models.checkpoints import read_checkpoint
    from nextvid_mm.plan.proposal import Proposer, render
    from nextvid_mm.plan.survey import read_labels, survey
    from nextvid_mm.registry import SCOPE

    init_default_scope(SCOPE)
    if args.start is not None:
        read_checkpoint(args.start)  # says what a file is that is none, before videos are looked at
    console = Console(highlight=False, soft_wrap=True)
    console = Console(highlight=False, width=max(console.width, 118))
    name = args.out.name if args.out else Path(args.data).resolve().name
    labels = read_labels(args.labels, args.data) if args.labels else None
    found = survey(args.data)
    for line in [*found.describe(), *(labels.notes if labels else ())]:
        console.print(line)
    proposer = Proposer(found, machine, wishes, name)
    proposal = proposer.propose()
    console.print(f'for {machine.name}, {wishes.hours:g} h:')
    console.print(render(proposal, proposer.propose(2 * wishes.hours)))
    unit = 'timed' if proposal.measured else 'forecast'
    console.print(f'the first 20 steps take {proposal.first_steps:.0f} s ({unit})')
    if not args.dry_run:
        _write(args, proposal, labels, console)


def _machine(args: argparse.Namespace) -> Machine:
    """The machine that the flags describe."""
    from nextvid_mm.plan.step_time import GPUS, Machine

    if not args.gpus:
        if args.gpu or args.gpu_memory is not None:
            raise ValueError('--gpu and --gpu-memory describe GPUs: say how many with --gpus')
        return Machine.cpu()
    if args.gpus < 0:
        raise ValueError(f'--gpus {args.gpus} must be at least 1')
    known = GPUS.get(args.gpu, (0, 80))[1]
    memory = known if args.gpu_memory is None else args.gpu_memory
    if not memory > 0:
        raise ValueError(f'--gpu-memory {memory:g} must be more than 0: GB, such as 80')
    return Machine.of_gpus(args.gpus, memory, args.gpu)


def _wishes(args: argparse.Namespace) -> Wishes:
    from nextvid_mm.layers import ARCHITECTURES
    from nextvid_mm.plan.proposal import Wishes

    if not args.hours > 0:
        raise ValueError(f'--hours {args.hours:g} must be more than 0')
    if args.size is not None and args.size not in ARCHITECTURES:
        raise ValueError(f'--size {args.size} is not one of {", ".join(ARCHITECTURES)}')
    if len(args.labels) > 2:
        raise ValueError(f'--labels takes one list or two, found {len(args.labels)}')
    return Wishes(args.hours, args.size, args.start)


def _write(
    args: argparse.Namespace, proposal: Proposal, labels: Labels | None, console: Console
) -> None:
    """Write configs and lists, and say how to start."""
    from nextvid_mm.datasets.video.files import format_line
    from nextvid_mm.files import write_text
    from nextvid_mm.plan.proposed_configs import pretrain_text
    from nextvid_mm.plan.proposed_labelled import finetune_text, probe_text

    folder = args.out or Path('configs', proposal.settings.name)
    text = pretrain_text(proposal.settings, proposal.choices, _command(args))
    texts = {'pretrain.py': text}
    if labels is not None:
        lists = [folder / 'train.txt', folder / 'val.txt']
        common = (proposal.settings, labels.classes, len(labels.train), lists)
        texts |= {'probe.py': probe_text(*common), 'finetune.py': finetune_text(*common)}
        for path, part in zip(lists, (labels.train, labels.val), strict=True):
            texts[path.name] = ''.join(f'{format_line(*entry)}\n' for entry in part)
        if (names := Path(args.labels[-1]).with_name('label_map.txt')).is_file():
            texts[names.name] = names.read_text(encoding='utf-8')
    for name, text in texts.items():
        path = folder / name
        if path.exists() and path.read_text(encoding='utf-8') != text:
            raise ValueError(f'{path} is there and says something else: give another --out')
    for name, text in texts.items():
        write_text(folder / name, text)
    console.print(f'wrote {", ".join(str(folder / name) for name in texts)}')
    for line in _how_to_start(folder, args.gpus, labels is not None):
        console.print(line, soft_wrap=True)
    if labels is None:
        console.print('--labels LIST adds a probe and fine-tuning on the same videos')


def _how_to_start(folder: Path, gpus: int, labelled: bool) -> list[str]:
    config = folder / 'pretrain.py'
    start = f'python tools/train.py {config}'
    if gpus > 1:
        start = f'bash tools/dist_train.sh {config} {gpus}'
    lines = [f'start:      {start}']
    if labelled:
        lines.append(f'probe:      python tools/train.py {folder / "probe.py"}')
        lines.append(f'fine-tune:  python tools/train.py {folder / "finetune.py"}')
    return lines


def _command(args: argparse.Namespace) -> str:
    """The command line with what matters to the configs."""
    words = ['tools/propose_config.py', args.data, '--hours', f'{args.hours:g}']
    if args.labels:
        words += ['--labels', *args.labels]
    if args.gpus:
        words += ['--gpus', str(args.gpus)]
        words += ['--gpu', args.gpu] if args.gpu else []
        words += ['--gpu-memory', f'{args.gpu_memory:g}'] if args.gpu_memory else []
    words += ['--size', args.size] if args.size else []
    words += ['--from', args.start] if args.start else []
    words += ['--out', str(args.out)] if args.out else []
    return shlex.join(words)
