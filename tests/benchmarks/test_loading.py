import pytest
from clips import write_clip
from mmengine.config import Config

from benchmarks.loading import (
    compare_backends,
    compare_loader,
    steps_until_decoded,
    video_source,
    with_videos,
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('videos')
    for number in range(2):
        write_clip(path / f'{number}.mp4')
    return str(path)


@pytest.fixture
def config(folder):
    return with_videos(Config.fromfile('configs/nextvid/vit-tiny_demo.py'), folder, 'pyav', False)


def test_other_videos_replace_the_mixture(folder, config):
    (source,) = config.train_dataloader.dataset.sources
    assert source.dataset.folder == folder
    opening = source.dataset.pipeline[0]
    assert opening == dict(type='VideoInit', backend='pyav')
    kept = with_videos(Config.fromfile('configs/nextvid/vit-tiny_demo.py'), None, 'pyav', True)
    assert [s.name for s in kept.train_dataloader.dataset.sources] == ['videos', 'images']
    opening = video_source(kept)['dataset']['pipeline'][0]
    assert opening['backend'] == 'pyav'
    assert 'cache_dir' in opening


def test_decoders_are_compared(config):
    report = compare_backends(config, clips=2, repeats=1)
    names = [row['decoder'] for row in report.rows]
    assert names[0] == 'pyav'
    assert report.rows[0]['pyav over this'] == 1


def test_the_loader_is_compared_with_its_decoder(config):
    report = compare_loader(config, clips=4, workers=(0,), repeats=1)
    rows = {row['what'].strip(): row for row in report.rows}
    assert rows['decoder alone']['rate over the decoder alone'] == 1
    assert rows['loader, 0 worker(s)']['ms per clip'] > 0
    assert {'VideoInit', 'VideoDecode', 'FrameIsolatedMasking'} <= set(rows)


def test_a_config_without_videos_is_refused(config):
    config.train_dataloader.dataset.sources[0].dataset.type = 'mmpretrain.ImageNet'
    with pytest.raises(ValueError, match='reads videos'):
        video_source(config)
    with pytest.raises(ValueError, match='decodes nothing'):
        steps_until_decoded(dict(pipeline=[dict(type='Resize')]))
