import pytest
import torch
from probe_run import NUM_TRAIN, make_videos, probe_run, save_encoder

from nextvid_mm.engine.probe.training import train_on_cache


@pytest.fixture
def cfg(tmp_path):
    make_videos(tmp_path / 'data')
    encoder = save_encoder(tmp_path / 'encoder.pth')
    return probe_run(tmp_path / 'data', tmp_path / 'run', **{'model.encoder': encoder})


def test_the_checkpoint_holds_encoder_probes_and_mode(cfg, tmp_path):
    path = train_on_cache(cfg, tmp_path / 'cache')
    saved = torch.load(path, weights_only=True)
    assert saved['meta'] == dict(mode='cached features', seed=0)
    assert saved['state_dict']['cls_head.standardizer.frozen']
    tokens = next((tmp_path / 'cache').rglob('tokens.bin'))
    # One central view of 4 x 4 x 4 tokens with 24 channels per video.
    assert tokens.stat().st_size == NUM_TRAIN * 64 * 24 * 4


def test_one_process_only(cfg, tmp_path):
    cfg.launcher = 'pytorch'
    with pytest.raises(ValueError, match='works in one process'):
        train_on_cache(cfg, tmp_path / 'cache')


def test_wrong_labels_stop_it_before_encoding(cfg, tmp_path):
    cfg.model.cls_head.num_classes = 2
    with pytest.raises(ValueError, match=r'train\.txt, line 3'):
        train_on_cache(cfg, tmp_path / 'cache')
    assert not (tmp_path / 'cache').exists()


def test_the_configs_optimiser_trains_the_probes(cfg, tmp_path):
    def trained(work_dir, **betas):
        cfg.work_dir = str(tmp_path / work_dir)
        cfg.optim_wrapper.optimizer.update(betas)
        return torch.load(train_on_cache(cfg, tmp_path / 'cache'), weights_only=True)['state_dict']

    one, other = trained('one'), trained('other', betas=(0.5, 0.6))
    assert any(not torch.equal(one[name], other[name]) for name in one if 'cls_head' in name)


def test_another_schedule_is_refused(cfg, tmp_path):
    cfg.param_scheduler.eta_min = 1e-5
    with pytest.raises(ValueError, match=r'eta_min.: 1e-05.*trains by .*CosineAnnealingLR'):
        train_on_cache(cfg, tmp_path / 'cache')
