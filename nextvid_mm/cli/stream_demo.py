"""Watch a stream: live labels, or features, of an endless video at a constant cost per frame."""

from __future__ import annotations

import argparse
import os
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from nextvid_mm.cli.flags import add_shared, device_of
from nextvid_mm.files import replace_when_complete, shown
from nextvid_mm.stopping import Stopped

EPILOG = """\
MODEL is a classifier, as for tools/predict.py: a folder, a work directory, or CONFIG CKPT. It says
what the last seconds show; --out and --show draw label, probability and latency on the picture. Or
it is a checkpoint with an encoder: the label is then a vote of the nearest labelled videos of
--list, one "path label" per line; without a list there is no label.

SOURCE is a file, which is read as fast as it goes, the number of a camera, or an address (rtsp://,
http://, udp://). A camera or an address that breaks off is opened again, after 1, 2, 4, at most 30
seconds, until --patience is over.

Every tubelet (2 video frames) is encoded once; keys and values of the last --window tubelets are
kept, older ones are evicted: time and memory per frame stay the same, however long it runs. Ctrl-C
ends it; the file of --out is then complete up to there.

examples:
  python tools/stream_demo.py work_dirs/ssv2 0 --show                  # camera 0
  python tools/stream_demo.py checkpoints/my_model rtsp://camera/1 --patience 3600
  python tools/stream_demo.py checkpoints/my_model long.mp4 --out labelled.mp4
  python tools/stream_demo.py CKPT data/demo/videos_val/00000_move_left.mp4 \\
      --list data/demo/demo_probe_list_videos.txt --root data/demo/videos_train
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('model', metavar='MODEL', help='classifier (also CONFIG CKPT), or checkpoint of an encoder')
    add('source', nargs='+', metavar='SOURCE', help='video file, number of a camera, or address')
    add_shared(parser, '--window', '(default: those of a clip of the classifier, else 32)')
    add_shared(parser, '--fps', 'that are taken (default: as in training)')
    more = '(the pictures, with what is drawn on them)'
    add_shared(parser, '--out', more, metavar='FILE.mp4')
    add('--show', action='store_true', help='show them in a window; q ends it')
    add('--limit', type=int, help='stop after so many video frames')
    add(
        '--patience',
        type=float,
        default=300.0,
        help='seconds without a picture after which a camera or address is given up (default: 300)',
    )
    add('--classes', metavar='FILE', help="a class name a line, instead of the classifier's")
    add_shared(parser, '--weights')
    add('--list', type=Path, help='labelled videos, for the label of an encoder')
    add_shared(parser, '--root', '(default: here)', type=Path)
    add('--bank-frames', type=int, help='video frames of each of --list (default: 16)')
    add_shared(parser, '--device')
    add_shared(parser, '--dtype')


def run(args: argparse.Namespace) -> None:
    """Stream until the source or the user ends it."""
    from mmengine.registry import init_default_scope

    from nextvid_mm.registry import SCOPE

    for name in ('window', 'limit', 'bank_frames'):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ValueError(f'--{name.replace("_", "-")} {value} must be at least 1')
    if args.fps is not None and not args.fps > 0:
        raise ValueError(f'--fps {args.fps:g} must be above 0')
    init_default_scope(SCOPE)
    try:
        if Path(args.model).suffix == '.py' or Path(args.model).is_dir():
            view, fps, source = classifier_view(args)
        else:
            view, fps, source = encoder_view(args)
        frames = watch(args, view, fps, source)
    except KeyboardInterrupt:
        return
    print(f'{frames} video frames at {fps:g} fps')


def classifier_view(args: argparse.Namespace) -> tuple[Any, float, str]:
    """Live labels of a classifier, the rate it wants, and the source."""
    from nextvid_mm.inferencers.live_classifier import LiveClassifier
    from nextvid_mm.inferencers.opening import open_classifier

    _refuse(args, 'an encoder', 'weights', 'list', 'root', 'bank_frames', 'dtype')
    words = [args.model, *args.source]
    classifier, rest = open_classifier(words, args.classes, device_of(args))
    view, source = LiveClassifier(classifier, args.window), only_source(rest)
    return view, args.fps or view.fps(source_rate(source)), source


def encoder_view(args: argparse.Namespace) -> tuple[Any, float, str]:
    """Features of an encoder, with votes of ``--list``."""
    from nextvid_mm.inferencers.live import EncoderView, build_bank
    from nextvid_mm.inferencers.streaming import StreamingEncoder
    from nextvid_mm.layers import resolve_dtype
    from nextvid_mm.models.checkpoints.generator import training_fps

    _refuse(args, 'a classifier', 'classes')
    if args.list is None:
        _refuse(args, '--list', 'root', 'bank_frames')
    device = device_of(args)
    dtype = resolve_dtype(args.dtype, device)
    stream = StreamingEncoder.from_checkpoint(
        args.model, args.weights, args.window or 32, device, dtype
    )
    fps = args.fps or training_fps(args.model)
    root, frames = args.root or Path(), args.bank_frames or 16
    bank = args.list and build_bank(stream, args.list, root, fps, frames)
    return EncoderView(stream, bank), fps, only_source(args.source)


def _refuse(args: argparse.Namespace, what: str, *names: str) -> None:
    """Raise if a flag is given that belongs to something else."""
    for name in names:
        if getattr(args, name) is not None:
            raise ValueError(f'--{name.replace("_", "-")} is for {what}: leave it out')


def only_source(words: Sequence[str]) -> str:
    """The source, which is one word."""
    if len(words) != 1:
        found = [shown(word) for word in words]
        raise ValueError(f'give one SOURCE behind the model, found {found}')
    return words[0]


def source_rate(source: str) -> float | None:
    """Video frames a second of a file; None for what comes live."""
    from nextvid_mm.datasets.video.reader import VideoReader

    if is_live(source):
        return None
    with VideoReader(source) as video:
        return video.rate


def is_live(source: str) -> bool:
    """Whether a source is a camera or an address, no file."""
    return source.isdecimal() or '://' in source


def file_pictures(source: str, fps: float) -> Iterator[Any]:
    """Pictures of a file, as fast as they are taken."""
    from nextvid_mm.datasets.video.reader import VideoReader

    with VideoReader(source) as video:
        yield from (picture for _, picture in video.every(fps))


def watch(args: argparse.Namespace, view: Any, fps: float, source: str) -> int:
    """Show, and draw where the flags say so; the number of video frames."""
    from nextvid_mm.datasets.video_writer import SMALL, encode_video
    from nextvid_mm.inferencers.annotated import caption
    from nextvid_mm.inferencers.live import follow
    from nextvid_mm.inferencers.sources import (
        at_most,
        newest,
        read_camera,
        read_url,
        reconnecting,
    )

    if is_live(source):
        camera = source.isdecimal()
        connect = partial(read_camera, int(source)) if camera else partial(read_url, source)
        name = f'camera {source}' if camera else shown(source)
        pictures: Any = at_most(newest(reconnecting(connect, name, args.patience)), fps)
    else:
        pictures = file_pictures(source, fps)
        if args.out is not None and os.path.exists(args.out) and os.path.samefile(args.out, source):
            raise ValueError(f'--out {args.out} is the video that is watched: give another name')
    frames = 0
    stops: list[BaseException] = []  # raised after the file is complete

    def drawn() -> Iterator[Any]:
        nonlocal frames
        try:
            for picture, status in follow(view, pictures, limit=args.limit):
                frames = status.frames
                if args.out is None and not args.show:
                    continue
                labelled = caption(picture, status.lines())
                if args.show and not show(labelled):
                    return
                yield labelled
        except (Exception, KeyboardInterrupt, Stopped) as stop:
            stops.append(stop)

    film = drawn()
    first = list(islice(film, 1))
    if args.out is not None and first:
        with replace_when_complete(args.out) as temporary:
            try:
                encode_video(temporary, chain(first, film), fps, options=SMALL)
            except (KeyboardInterrupt, Stopped) as stop:
                stops.append(stop)
    deque(film, maxlen=0)
    if stops:
        raise stops[0]
    return frames


def show(picture: Any) -> bool:
    """Show a picture in a window; False once the user presses q."""
    import cv2

    try:
        cv2.imshow('nextvid', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(1) & 0xFF != ord('q')
    except cv2.error as error:
        raise ImportError(
            '--show: this OpenCV opens no windows (it is built headless): write a file by --out '
            'FILE.mp4 instead'
        ) from error
