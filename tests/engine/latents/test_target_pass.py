import pytest
import torch
from caching import fixed_config, write_media

from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.engine.latents.target_pass import TargetPass, frames_of


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    return write_media(tmp_path_factory.mktemp('media'))


def config(media, **changes):
    return fixed_config(media / 'clips', media / 'images', **changes)


def requests(count, seed=0):
    return [ClipRequest(n, 0, n, num_frames=8, seed=seed + n) for n in range(count)]


def test_clips_come_in_order_as_the_model_gets_them(media):
    run = TargetPass(config(media))
    batches = list(run.batches(requests(5), batch_size=2))
    assert [len(batch.clip) for batch in batches] == [2, 2, 1]
    paths = [info['path'][-5:] for clips in batches for info in clips.batch.info]
    assert paths == [f'{n}.mp4' for n in range(5)]
    clip = batches[0].clip
    assert clip.shape == (2, 3, 8, 16, 16)
    assert clip.min() >= -1
    assert clip.max() <= 1
    assert batches[0].batch.masks == ()
    assert run.target(*batches[0]).shape == (2, 3, 16, 96)


def test_flips_are_left_out_on_request(media):
    plain = TargetPass(config(media), keep_flips=False)
    turned = TargetPass(config(media), keep_flips=True)
    asked = requests(5, seed=10)
    differ = [
        not torch.equal(a.clip, b.clip)
        for a, b in zip(plain.batches(asked, 1), turned.batches(asked, 1), strict=True)
    ]
    assert any(differ)
    assert not all(differ)


def test_keys_of_the_target_can_be_replaced(media):
    run = TargetPass(config(media), overrides=dict(pool=2))
    assert run.target.channels == 24


def test_all_lengths_of_the_stages_count_once(media):
    cfg = config(media)
    stage = cfg.train_cfg.stages[0]
    cfg.train_cfg.stages = [stage, dict(stage, name='b', num_frames=4), dict(stage, name='c')]
    assert frames_of(cfg) == [4, 8]


def test_a_config_without_its_parts_is_refused(media):
    cfg = config(media)
    cfg.train_dataloader.dataset.type = 'CachedMixtureDataset'
    with pytest.raises(ValueError, match='dataset.type=MixtureDataset, found .*CachedMixture'):
        TargetPass(cfg)
