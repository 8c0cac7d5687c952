"""``python -m benchmarks.worlds``: videos of seven simulated bodies, with two questions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks.worlds.bodies import (
    BODIES,
    MOTIONS,
    SPLITS,
    WorldSpec,
    render_clip,
    require_simulator,
)
from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.files import replace_when_complete, write_text
from nextvid_mm.progress import track

EPILOG = """\
Layout: videos_train/, videos_val/ (H.264); how/ and what/ with train.txt, val.txt, labelled lists
of 10 and 100 clips a class, and label_map.txt. Labels of how: eight motions; of what: seven bodies.
Clips that are there are kept; --num-train may grow.

examples:
  python -m benchmarks.worlds                                  # 4,648 clips
  python -m benchmarks.worlds --out data/small --num-train 560 --num-val 112
  python tools/train.py benchmarks/worlds/pretrain.py
  python tools/test.py benchmarks/worlds/probe_how.py work_dirs/pretrain/iter_1500.pth
"""
LABELLED = (10, 100)


def clip_name(spec: WorldSpec, index: int) -> str:
    """File name of a clip: number, body, motion."""
    motion, body = spec.labels(index)
    return f'{index:05d}_{list(BODIES)[body]}_{MOTIONS[motion]}.mp4'


def make_world(root: Path, spec: WorldSpec, quiet: bool = False) -> Path:
    """Write what is missing of a dataset, and its lists.

    Raises:
        ModuleNotFoundError: if the simulator is missing.
        ValueError: if the folder holds clips of another specification.
    """
    require_simulator()
    stamp = root / 'spec.txt'
    content = ''.join(
        f'{field.name} {getattr(spec, field.name)}\n'
        for field in fields(spec)
        if not field.name.startswith('num_')
    )
    if stamp.is_file() and stamp.read_text() != content:
        raise ValueError(f'{root} holds clips of another specification: choose another --out')
    write_text(stamp, content)
    for path, split, index in track(list(_missing(root, spec)), 'clips', 'clips', quiet=quiet):
        with replace_when_complete(path, durable=False) as partial:
            encode_video(partial, render_clip(spec, split, index)[0], spec.fps)
    for place, (question, names) in enumerate((('how', MOTIONS), ('what', tuple(BODIES)))):
        _write_lists(root / question, spec, place, names)
    return root


def _missing(root: Path, spec: WorldSpec) -> Iterator[tuple[Path, str, int]]:
    for split in SPLITS:
        for index in range(spec.num_train if split == 'train' else spec.num_val):
            path = root / f'videos_{split}' / clip_name(spec, index)
            if not path.is_file():
                yield path, split, index


def _write_lists(folder: Path, spec: WorldSpec, place: int, names: Sequence[str]) -> None:
    """All clips, and the first of each class of the training clips."""
    for split, count in (('train', spec.num_train), ('val', spec.num_val)):
        lines = [f'{clip_name(spec, i)} {spec.labels(i)[place]}\n' for i in range(count)]
        write_text(folder / f'{split}.txt', ''.join(lines))
    for most in LABELLED:
        seen = [0] * len(names)
        chosen = []
        for index in range(spec.num_train):
            label = spec.labels(index)[place]
            seen[label] += 1
            if seen[label] <= most:
                chosen.append(f'{clip_name(spec, index)} {label}\n')
        write_text(folder / f'train_{most}.txt', ''.join(chosen))
    write_text(folder / 'label_map.txt', ''.join(f'{name}\n' for name in names))


def main(words: Sequence[str] | None = None) -> None:
    """Parse the flags and write the dataset."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.worlds',
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, default=Path('data/bodies'), help='where to write')
    for field in fields(WorldSpec):
        flag = f'--{field.name.replace("_", "-")}'
        default = getattr(WorldSpec, field.name)
        parser.add_argument(
            flag, type=type(default), default=default, help='(default: %(default)s)'
        )
    args = vars(parser.parse_args(words))
    root = args.pop('out')
    try:
        print(make_world(root, WorldSpec(**args)))
    except (ModuleNotFoundError, ValueError) as error:
        sys.exit(f'benchmarks.worlds: error: {error}')


if __name__ == '__main__':
    main()
