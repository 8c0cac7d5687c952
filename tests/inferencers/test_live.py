"""The live view over a short video, with labels from brightness."""

import io
import itertools

import numpy as np
import pytest
import torch
from checkpoints import save_pretrained
from clips import pictures_of
from rich.console import Console

from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.evaluation.representation import knn_votes
from nextvid_mm.inferencers.live import EncoderView, LabelBank, build_bank, follow
from nextvid_mm.inferencers.streaming import StreamingEncoder
from nextvid_mm.models.backbones.pixels import from_bytes


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A tiny checkpoint and a list of six videos, dark (0) or bright (1), one of them short."""
    folder = tmp_path_factory.mktemp('videos')
    torch.manual_seed(0)
    save_pretrained(folder / 'model.pth')
    rng, lines = np.random.default_rng(0), ['# a comment', 'unlabelled.mp4']
    for number in range(6):
        label, frames = number % 2, 2 if number == 5 else 8
        noise = rng.integers(0, 60, (frames, 16, 16, 3)) + 180 * label
        encode_video(folder / f'{number}.mp4', noise.astype(np.uint8), 8)
        lines.append(f'{number}.mp4 {label}')
    (folder / 'list.txt').write_text('\n'.join(lines) + '\n')
    (folder / 'label_map.txt').write_text('dark\nbright\n')
    return folder


@pytest.fixture
def stream(folder):
    return StreamingEncoder.from_checkpoint(folder / 'model.pth', window=4)


def bank_of(stream, folder, **options):
    return build_bank(stream, folder / 'list.txt', folder, 8, 8, progress=False, **options)


def test_the_bank_holds_labelled_videos_that_are_long_enough(stream, folder):
    bank = bank_of(stream, folder)
    assert bank.labels.tolist() == [0, 1, 0, 1, 0]
    assert bank.names == ['dark', 'bright']
    assert bank.tubelets == 2
    assert stream.seen == 0
    pictures = torch.from_numpy(np.stack(pictures_of(folder / '1.mp4')))
    tokens = stream.push(from_bytes(pictures.permute(3, 0, 1, 2)[None]))
    torch.testing.assert_close(bank.features[1], tokens[0, -2:].mean(dim=(0, 1)))


def test_the_view_shows_speed_latency_memory_and_the_right_label(stream, folder):
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    bright = [np.full((20, 30, 3), 210, np.uint8)] * 13
    *_, (_, status) = follow(EncoderView(stream, bank_of(stream, folder)), bright, console)
    assert status.frames == 13
    assert len(status.latencies) == stream.seen == 6
    assert status.fps > 0
    assert status.label[0] == 'bright'
    assert 0.5 < status.label[1] <= 1
    text = console.file.getvalue()
    for expected in ('fps', 'latency', '4 of 4 tubelets', 'bright ('):
        assert expected in text


def test_a_stream_without_a_bank_and_with_a_limit(stream):
    console = Console(file=io.StringIO(), width=120)
    endless = itertools.repeat(np.zeros((16, 16, 3), np.uint8))
    *_, (_, status) = follow(EncoderView(stream), endless, console=console, limit=5)
    assert (status.frames, stream.seen, status.label) == (5, 2, None)


def test_votes_are_shares():
    bank = LabelBank(torch.eye(3), torch.tensor([0, 0, 1]), ['a', 'b'], 1)
    name, share = bank.vote(torch.tensor([0.4, 0.4, 0.5]))
    votes = knn_votes(bank.features, bank.labels, torch.tensor([[0.4, 0.4, 0.5]]))[0]
    assert name == 'b'
    assert share == pytest.approx(float(votes[1] / votes.sum()))
    assert 0.5 < share < 1


def test_a_list_of_nothing_usable_is_refused(stream, folder):
    with pytest.raises(
        ValueError, match=r'list\.txt names no labelled video of 30 frames at 8 fps'
    ):
        build_bank(stream, folder / 'list.txt', folder, 8, 30, progress=False)
    with pytest.raises(FileNotFoundError, match=r'none\.txt'):
        build_bank(stream, folder / 'none.txt', folder, 8, 8)


def test_the_bank_takes_parts_of_videos(stream, folder, tmp_path):
    rows = 'path,start,end,label\n1.mp4,0,0.5,0\n1.mp4,0.25,,1\n0.mp4,0,,0\n'
    (tmp_path / 'list.csv').write_text(rows)
    whole = build_bank(stream, tmp_path / 'list.csv', folder, 8, 8, progress=False)
    assert whole.labels.tolist() == [0], 'two parts are too short'
    parts = build_bank(stream, tmp_path / 'list.csv', folder, 8, 4, progress=False)
    assert parts.labels.tolist() == [0, 1, 0]
    assert (parts.features[0] != parts.features[1]).any()
