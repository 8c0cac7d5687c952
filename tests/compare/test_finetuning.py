"""Fine-tuning for a number."""

import pytest
from finetune_run import finetune_run
from probe_run import NUM_TRAIN

from nextvid_mm.compare import finetuning
from nextvid_mm.compare.finetuning import finetune


def test_it_trains_on_the_chosen_samples(videos, tmp_path, monkeypatch):
    runners, build = [], finetuning.build_runner
    monkeypatch.setattr(
        finetuning, 'build_runner', lambda cfg: runners.append(build(cfg)) or runners[-1]
    )
    encoder = str(videos / 'encoder.pth')
    config = finetune_run(videos / 'data', tmp_path, None, **{'train_cfg.max_epochs': 1})
    top1 = finetune(config, encoder, [0, 1, 2, 5], 0, tmp_path / 'run')
    assert 0 <= top1 <= 100
    (runner,) = runners
    assert len(runner.train_dataloader.dataset) == 4 < NUM_TRAIN
    assert config.model.backbone.init_cfg.checkpoint is None
    assert not list((tmp_path / 'run').rglob('*.pth'))


def test_what_a_signal_ended_is_no_result(videos, tmp_path, monkeypatch):
    class Stopped:
        iter, max_iters = 1, 2

        def train(self):
            pass

    monkeypatch.setattr(finetuning, 'build_runner', lambda cfg: Stopped())
    config = finetune_run(videos / 'data', tmp_path, None)
    with pytest.raises(KeyboardInterrupt):
        finetune(config, None, None, 0, tmp_path / 'run')
