"""Features over time: layouts that localizers read, any length, resumable."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.datasets import ActivityNetDataset
from mmaction.models.localizers import BMN
from mmengine.registry import DefaultScope

from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.demo.data.render import render_clip
from nextvid_mm.demo.data.spec import DemoSpec
from nextvid_mm.inferencers import sequences
from nextvid_mm.inferencers.sequences import RowParts, write_sequences
from nextvid_mm.inferencers.streaming import StreamingEncoder

CHANNELS = 24


class Killed(BaseException):
    """What a kill looks like from inside."""


def test_a_file_for_each_video_with_rates_beside(make, media, tmp_path):
    paths = [str(media / name) for name in ('long.mp4', 'text.mp4', 'short.mp4', 'image.png')]
    infer = make(fps=4.0)
    note = write_sequences(infer, paths, tmp_path / 'out')
    assert note == json.loads((tmp_path / 'out/features.json').read_text())
    assert (note['fps'], note['feature_stride'], note['num_frames']) == (4.0, 2, 2)
    for path in (paths[0], paths[2]):
        name = Path(path).stem
        expected = infer(path)[0]
        found = np.load(tmp_path / f'out/{name}.npy')
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected.features)
        # ActionFormer: row i stands for (i * stride + num_frames / 2) / fps; ours is the mean time
        # of the frames, half a frame before, where a frame is shown from its time on.
        centres = (np.arange(len(found)) * 2 + 1) / note['videos'][name]['fps']
        whole = slice(0, len(found) - 1)  # the last tubelet may repeat a frame
        np.testing.assert_allclose(centres[whole] - 0.5 / 4, expected.timestamps[whole], atol=1e-3)
    assert sorted(note['failed']) == [paths[3], paths[1]]
    assert 'there is no time in it' in note['failed'][paths[3]]
    assert not list((tmp_path / 'out/parts').iterdir())


@pytest.mark.parametrize('stride', [8, 4])
@pytest.mark.parametrize('fps', [None, 8.0])
def test_windows_go_on_where_a_kill_left_them(make, media, tmp_path, monkeypatch, stride, fps):
    path = str(media / 'long.mp4')
    infer = make(stride=stride, fps=fps, batch_size=1)
    expected = infer(path)[0].features
    _kill(monkeypatch, after=2)
    with pytest.raises(Killed):
        write_sequences(infer, [path], tmp_path, part_rows=4)
    monkeypatch.undo()
    (half,) = (tmp_path / 'parts').iterdir()
    done = RowParts(half).rows
    assert 0 < done < len(expected)
    encode, windows = infer._encode, []
    infer._encode = lambda batch: windows.extend(w.first for w in batch) or encode(batch)
    write_sequences(infer, [path], tmp_path, part_rows=4)
    assert min(windows) == 2 * done - 8 + stride, 'nothing before is encoded again'
    np.testing.assert_array_equal(np.load(tmp_path / 'long.npy'), expected)


def test_a_stream_goes_on_with_its_memory(make, media, tmp_path, monkeypatch):
    path, infer = str(media / 'long.mp4'), make()
    write_sequences(infer, [path], tmp_path / 'whole', window=3)
    whole = np.load(tmp_path / 'whole/long.npy')
    _kill(monkeypatch, after=1)
    with pytest.raises(Killed):
        write_sequences(infer, [path], tmp_path / 'half', window=3, part_rows=4)
    monkeypatch.undo()
    pushed, push = [], StreamingEncoder.push
    monkeypatch.setattr(
        StreamingEncoder, 'push', lambda self, x: pushed.append(x.shape[2]) or push(self, x)
    )
    write_sequences(infer, [path], tmp_path / 'half', window=3, part_rows=4)
    assert sum(pushed) == 44 - 16
    np.testing.assert_allclose(np.load(tmp_path / 'half/long.npy'), whole, rtol=1e-5, atol=1e-6)


def test_a_stream_is_the_clip_where_both_see_the_same(make, media, tmp_path):
    path, infer = str(media / 'long.mp4'), make()
    write_sequences(infer, [path], tmp_path, window=4)
    streamed, clipwise = np.load(tmp_path / 'long.npy'), infer(path)[0].features.numpy()
    np.testing.assert_allclose(streamed[:4], clipwise[:4], rtol=1e-4, atol=1e-5)
    assert not np.allclose(streamed[8:], clipwise[8:]), 'later ones have more past'


def test_the_reason_is_without_the_name_of_an_address(make, tmp_path):
    address = 'memory://me:hidden@files/gone.mp4?signature=hidden'
    failed = write_sequences(make(), [address], tmp_path)['failed']
    assert failed[address] == 'FileNotFoundError: memory://files/gone.mp4 does not exist'
    with pytest.raises(ValueError, match='would both be x') as error:
        write_sequences(make(), ['memory://me:hidden@a/x.mp4', 'b/x.mkv'], tmp_path)
    assert 'hidden' not in str(error.value)


def _kill(monkeypatch, after):
    """Die while a part is written, when ``after`` are."""
    append = RowParts.append

    def dying(self, rows, state=None):
        if len(self.files) == after:
            (self.folder / 'rows-000000099.npy.abc.tmp').write_bytes(b'half')
            raise Killed
        append(self, rows, state)

    monkeypatch.setattr(RowParts, 'append', dying)


def test_what_is_done_stays_and_other_settings_are_refused(make, media, tmp_path, monkeypatch):
    paths = [str(media / 'long.mp4'), str(media / 'short.mp4')]
    infer = make()
    write_sequences(infer, paths[:1], tmp_path)
    monkeypatch.setattr(infer, 'rows', None)
    assert list(write_sequences(infer, paths[:1], tmp_path)['videos']) == ['long']
    monkeypatch.undo()
    made = (tmp_path / 'long.npy').read_bytes()
    (tmp_path / 'long.npy').unlink()
    write_sequences(infer, paths[:1], tmp_path)
    assert (tmp_path / 'long.npy').read_bytes() == made
    with pytest.raises(ValueError, match='other settings.*\n  stride: 8 -> 4'):
        write_sequences(make(stride=4), paths, tmp_path)


def test_parts_of_other_settings_are_refused_before_a_video_is_done(
    make, media, tmp_path, monkeypatch
):
    """Hard killed: nothing is written after the first parts."""
    path = str(media / 'long.mp4')
    write = sequences._write_notes
    monkeypatch.setattr(
        sequences,
        '_write_notes',
        lambda folder, *rest: (folder / 'parts').exists() or write(folder, *rest),
    )
    _kill(monkeypatch, after=2)
    with pytest.raises(Killed):
        write_sequences(make(batch_size=1), [path], tmp_path, part_rows=4)
    monkeypatch.undo()
    assert RowParts(tmp_path / 'parts/long').rows
    with pytest.raises(ValueError, match='other settings.*\n  fps: None -> 4'):
        write_sequences(make(fps=4.0), [path], tmp_path)


def test_notes_are_not_written_for_every_video_and_always_at_the_end(
    make, media, tmp_path, monkeypatch
):
    written, write, fill = [], sequences._write_notes, sequences._fill
    for number in range(4):
        (tmp_path / f'{number}.mp4').symlink_to(media / 'short.mp4')

    def filled(infer, path, *rest):
        if path.endswith('3.mp4'):
            raise Killed
        fill(infer, path, *rest)

    monkeypatch.setattr(sequences, '_fill', filled)
    monkeypatch.setattr(
        sequences, '_write_notes', lambda *words: written.append(1) or write(*words)
    )
    monkeypatch.setattr(sequences, '_NOTE_SECONDS', 1e9)
    with pytest.raises(Killed):
        write_sequences(make(), [str(tmp_path / f'{n}.mp4') for n in range(4)], tmp_path / 'out')
    assert len(written) == 2
    assert list(json.loads((tmp_path / 'out/features.json').read_text())['videos']) == list('012')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(layout='csv'), "layout='csv' is not one of actionformer, bmn"),
        (dict(stored_type='bfloat16'), "stored_type='bfloat16' is not one of float32, float16"),
        (dict(rows=0), '--rows'),
        (dict(window=0), '--window'),
    ],
)
def test_wrong_settings(make, media, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        write_sequences(make(), [str(media / 'long.mp4')], tmp_path, **settings)


def test_what_cannot_be(make, media, tmp_path):
    infer = make()
    with pytest.raises(ValueError, match=r'a/x\.mp4 and b/x\.mkv would both be x'):
        write_sequences(infer, ['a/x.mp4', 'b/x.mkv'], tmp_path)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/short.mkv').symlink_to(media / 'short.mp4')
    write_sequences(infer, [str(media / 'short.mp4')], tmp_path / 'out')
    with pytest.raises(ValueError, match=r'short\.mp4 and .*other/short\.mkv would both be short'):
        write_sequences(infer, [str(tmp_path / 'other/short.mkv')], tmp_path / 'out')
    infer.encoder.streams = False
    with pytest.raises(ValueError, match='--window 4 is for an encoder that goes frame by frame'):
        write_sequences(infer, [str(media / 'long.mp4')], tmp_path, window=4)


def test_mmactions_localizer_learns_from_the_demos_clips(make, tmp_path):
    """BMN finds where one motion ends and the next begins."""
    spec = DemoSpec(frames=8, size=32)
    annotations = {}
    for number in range(2):
        clips = [render_clip(spec, 'train', 3 * number + n)[0] for n in range(3)]
        path = tmp_path / f'v{number}.mp4'
        encode_video(path, np.concatenate(clips), fps=8)
        annotations[path.stem] = [
            dict(segment=[float(n), float(n + 1)], label='motion') for n in range(3)
        ]
    paths = [str(tmp_path / f'{name}.mp4') for name in annotations]
    write_sequences(make(), paths, tmp_path / 'bmn', layout='bmn', rows=12, stored_type='float16')
    file = tmp_path / 'bmn/activitynet.json'
    entries = json.loads(file.read_text())
    assert entries['v0']['duration_second'] == pytest.approx(3.0)
    for name, found in annotations.items():
        entries[name]['annotations'] = found
    file.write_text(json.dumps(entries))
    losses = _train_bmn(file, steps=30)
    assert losses[-1] < 0.9 * losses[0]


def _train_bmn(file, steps):
    pipeline = [
        dict(type='LoadLocalizationFeature'),
        dict(type='GenerateLocalizationLabels'),
        dict(type='PackLocalizationInputs', keys=('gt_bbox',), meta_keys=('video_name',)),
    ]
    with DefaultScope.overwrite_default_scope('mmaction'):
        data = ActivityNetDataset(str(file), pipeline, dict(video=str(file.parent)))
        torch.manual_seed(0)
        model = BMN(
            12, 0.5, 4, 2, CHANNELS, 0.75, 0.65, 0.9, 10, hidden_dim_1d=16, hidden_dim_2d=8,
            hidden_dim_3d=16,
        )  # fmt: skip
    optimiser, losses = torch.optim.Adam(model.parameters(), 1e-2), []
    samples = [data[n] for n in range(len(data))]
    assert samples[0]['inputs'].shape == (CHANNELS, 12)
    for _ in range(steps):
        loss = model([s['inputs'] for s in samples], [s['data_samples'] for s in samples], 'loss')
        optimiser.zero_grad()
        loss['loss'].backward()
        optimiser.step()
        losses.append(loss['loss'].item())
    return losses
