import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from nextvid_mm.inferencers import FeatureInferencer, FeatureStore, find_media, write_features
from nextvid_mm.inferencers.media import MediaReader, UnreadableMediaError
from nextvid_mm.interop import export_encoder
from nextvid_mm.registry import INFERENCERS

CHANNELS, PATCHES = 24, 16


def test_shapes_and_times_of_every_kind(make, media):
    infer, path = make(), media / 'long.mp4'
    token, frame, pooled = (infer(path, kind)[0] for kind in ('token', 'frame', 'pooled'))
    assert token.features.shape == (22, PATCHES, CHANNELS)
    assert frame.features.shape == (22, CHANNELS)
    assert pooled.features.shape == (CHANNELS,)
    torch.testing.assert_close(frame.features, token.features.mean(1))
    torch.testing.assert_close(pooled.features, frame.features.mean(0))
    expected = (torch.arange(22, dtype=torch.float64) * 2 + 0.5) / 8  # two frames at 8 fps
    torch.testing.assert_close(frame.timestamps, expected, atol=1e-4, rtol=0)
    assert token.grid == (4, 4)


def test_every_row_is_the_encoders_own_output_of_the_first_window_that_covers_it(
    make, media, checkpoint
):
    encoder = checkpoint[0].reference.encoder
    (whole,) = MediaReader(None, 44, 44, 16, 2).windows(media / 'long.mp4')
    for stride in (8, 4):
        features = make(stride=stride, batch_size=3)(media / 'long.mp4', 'token')[0].features
        for row in range(22):
            starts = [s for s in [*range(0, 37, stride), 36] if s <= 2 * row < s + 8]
            clip = whole.clip[None, :, starts[0] : starts[0] + 8]
            expected = encoder.encode_layers(clip)[-1][0, row - starts[0] // 2]
            torch.testing.assert_close(features[row], expected, atol=1e-5, rtol=1e-5)


def test_the_reference_encoder_is_the_default(make, media, checkpoint, tmp_path):
    path = checkpoint[1]
    reference = make()(media / 'short.mp4')[0].features
    encoder = make(weights='encoder')(media / 'short.mp4')[0].features
    assert not torch.allclose(reference, encoder)
    exported = tmp_path / 'encoder.safetensors'
    export_encoder(path, exported)
    infer = FeatureInferencer(exported, fps=None, num_frames=8, device='cpu')
    torch.testing.assert_close(infer(media / 'short.mp4')[0].features, reference)
    assert infer.origin.sha256 == make().origin.sha256


def test_an_image_is_a_static_clip(make, media):
    (item,) = make()(media / 'image.png', 'token')
    assert item.features.shape == (4, PATCHES, CHANNELS)
    assert not item.timestamps.any()


def test_several_paths_and_the_registry(checkpoint, media):
    config = dict(type='nextvid_mm.FeatureInferencer', checkpoint=checkpoint[1], device='cpu')
    infer = INFERENCERS.build(config)
    items = infer([media / 'short.mp4', media / 'image.png'], progress=False)
    assert [item.path.rsplit('/', 1)[1] for item in items] == ['short.mp4', 'image.png']
    assert items[0].features.shape == (2, CHANNELS)  # at 0, 1/4 and 1/2 s: two rows
    with pytest.raises(UnreadableMediaError, match='text.mp4'):
        infer([media / 'short.mp4', media / 'text.mp4'], progress=False)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(num_frames=7), 'num_frames=7 must be a multiple of the tubelet of 2'),
        (dict(stride=3), 'stride=3 must be a multiple of the tubelet of 2'),
        (dict(stride=10), 'stride=10 would leave out frames: at most num_frames=8'),
        (dict(size=18), 'size=18 must be a multiple of the patch of 4'),
        (dict(fps=-1.0), 'fps=-1.0 must be above 0'),
        (dict(batch_size=0), 'batch_size=0'),
        (dict(dtype='int8'), "dtype='int8' is not one of"),
        (dict(weights='both'), "weights='both' is not one of"),
    ],
)
def test_wrong_settings_are_named(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_wrong_kinds_and_files_without_a_description_are_refused(make, media, tmp_path):
    with pytest.raises(ValueError, match="kind='clip' is not one of token, frame, pooled"):
        make()(media / 'short.mp4', 'clip')
    torch.save({'backbone.w': torch.zeros(1)}, tmp_path / 'bare.pth')
    with pytest.raises(ValueError, match=r'bare.pth does not say what its encoder is'):
        FeatureInferencer(tmp_path / 'bare.pth')


TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'extract_features.py'
NAMES = ('long.mp4', 'text.mp4', 'short.mp4', 'image.png')


@pytest.fixture
def paths(media):
    return [str(media / name) for name in NAMES]


def test_what_was_written_is_read_back_and_broken_files_are_listed(make, paths, tmp_path):
    infer = make()
    write_features(infer, paths, tmp_path, 'token', shard_megabytes=1e-5)
    store = FeatureStore(tmp_path)
    assert list(store) == [paths[0], paths[2], paths[3]]
    for path in store:
        expected, stored = infer(path, 'token')[0], store[path]
        assert torch.equal(stored.features, expected.features)
        assert torch.equal(stored.timestamps, expected.timestamps)
        assert stored.grid == expected.grid
    shards = sorted(p.name for p in tmp_path.glob('*.safetensors'))
    assert shards == [f'shard-{n:05d}.safetensors' for n in range(3)]
    with pytest.raises(KeyError, match=r'no features of .*text.mp4: \w*Error'):
        store[paths[1]]
    with pytest.raises(KeyError, match='not among the inputs'):
        store['other.mp4']


def test_an_interrupted_run_goes_on(make, paths, tmp_path, monkeypatch):
    infer, seen = make(), []
    extract = infer.extract

    def interrupted(path, kind):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(path)
        return extract(path, kind)

    monkeypatch.setattr(infer, 'extract', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_features(infer, paths, tmp_path)
    assert list(FeatureStore(tmp_path)) == [paths[0]]  # pending features are not lost

    again = make()
    extract_again, visited = again.extract, []
    monkeypatch.setattr(
        again, 'extract', lambda path, kind: visited.append(path) or extract_again(path, kind)
    )
    store = write_features(again, paths, tmp_path)
    assert visited == paths[1:]  # the broken file is tried again, the finished one is not
    once = write_features(make(), paths, tmp_path / 'once')
    for path in once:
        assert torch.equal(store[path].features, once[path].features)
        assert torch.equal(FeatureStore(tmp_path)[path].features, once[path].features)


def test_a_shard_of_a_crash_before_the_index_is_written_again(make, paths, tmp_path):
    (tmp_path / 'shard-00000.safetensors').write_bytes(b'half a shard')
    store = write_features(make(), paths[2:], tmp_path)
    assert store[paths[2]].features.shape == (3, 24)


def test_other_settings_are_refused_with_the_difference(make, paths, tmp_path):
    write_features(make(), paths[2:], tmp_path)
    with pytest.raises(ValueError, match=r'(?s)features of other settings.*stride: 8 -> 4'):
        write_features(make(stride=4), paths, tmp_path)
    with pytest.raises(ValueError, match="kind: 'frame' -> 'token'"):
        write_features(make(), paths, tmp_path, 'token')
    with pytest.raises(ValueError, match='encoder: .*reference.* -> .*encoder'):
        write_features(make(weights='encoder'), paths, tmp_path)


@pytest.mark.parametrize(('name', 'dtype'), [('float16', torch.float16), ('bfloat16', None)])
def test_features_can_be_stored_in_half_precision(make, paths, tmp_path, name, dtype):
    infer = make()
    store = write_features(infer, paths[2:3], tmp_path, stored_type=name)
    stored = store[paths[2]].features
    assert stored.dtype == (dtype or torch.bfloat16)
    expected = infer(paths[2])[0].features
    torch.testing.assert_close(stored.float(), expected, atol=2e-2, rtol=1e-2)
    with pytest.raises(ValueError, match="stored_type='int8'"):
        write_features(infer, paths, tmp_path, stored_type='int8')


def test_a_folder_without_features(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r'no folder of features \(no index.json\): tools/extract_features.py',
    ):
        FeatureStore(tmp_path)


def test_the_tool(checkpoint, media, tmp_path, monkeypatch, capsys):
    def run(*flags):
        arguments = [str(TOOL), checkpoint[1], *flags, '--device', 'cpu']
        monkeypatch.setattr(sys, 'argv', [str(a) for a in arguments])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    printed = run(media, '--out', tmp_path, '--fps', '0', '--num-frames', '8', '--kind', 'pooled')
    assert 'features of 3 of 5 files' in printed
    assert printed.count('  not read: ') == 2
    settings = json.loads((tmp_path / 'index.json').read_text())['settings']
    assert (settings['fps'], settings['kind'], settings['num_frames']) == (None, 'pooled', 8)
    assert FeatureStore(tmp_path)[str(media / 'long.mp4')].features.shape == (24,)
    with pytest.raises(SystemExit, match=r'extract_features: error: num_frames=3'):
        run(media, '--out', tmp_path, '--num-frames', '3')
    labelled = tmp_path / 'list.txt'
    labelled.write_text('# one\nshort.mp4 2\n')
    flags = ['--root', media, '--out', tmp_path / 'listed', '--num-frames', '8']
    assert 'features of 1 of 1 files' in run(labelled, *flags)
    flags[1] = 'elsewhere'
    with pytest.raises(
        SystemExit, match=r"none of 1 files .* relative to --root \(now 'elsewhere'"
    ):
        run(labelled, *flags)
    assert 'not read: elsewhere/short.mp4: ' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run('memory://me:hidden@files/gone.mp4?signature=hidden', '--out', tmp_path / 'far')
    said = capsys.readouterr().out
    assert 'not read: memory://files/gone.mp4: FileNotFoundError: memory://files/gone.mp4' in said
    assert 'hidden' not in said


def test_parts_of_a_video_have_features_of_their_own(make, media, tmp_path):
    (tmp_path / 'parts.csv').write_text('path,start,end\nlong.mp4,0,1\nlong.mp4,2,3\nlong.mp4,,\n')
    infer = make(num_frames=8)
    store = write_features(infer, find_media([tmp_path / 'parts.csv'], media), tmp_path / 'out')
    whole = store[f'{media}/long.mp4']
    for start in (0, 2):
        part = store[f'{media}/long.mp4#t={start},{start + 1}']
        rows = slice(4 * start, 4 * start + 4)  # windows of 8 frames are 1 s
        torch.testing.assert_close(part.timestamps, whole.timestamps[rows])
        torch.testing.assert_close(part.features, whole.features[rows], atol=1e-5, rtol=1e-5)
