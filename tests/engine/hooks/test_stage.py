"""StageHook: what switches at a stage's first step, and what it tells."""

import logging

from toy_training import STAGES, make_runner, train


def test_tau_and_message_at_each_switch(tmp_path, caplog):
    runner = make_runner(tmp_path, log_level='INFO')
    runner.logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        runner.train()
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith('Stage ')]
    assert len(lines) == len(STAGES)
    assert lines[2].startswith('Stage 3/4 "stable 2", step 1 of 5: lr 4.00e-03 to 1.00e-03')
    assert 'flow_lr 8.00e-03 to 8.00e-03' in lines[2]
    assert '4 frames' in lines[3]
    assert 'batch 4 = 1 process(es) x 4 clips x 1' in lines[3]


def test_a_model_without_a_flow_head(tmp_path):
    runner = make_runner(tmp_path, stages=STAGES[:2])
    model = runner.model
    model.head = None
    model.forward = lambda inputs, data_samples=None, mode='loss': dict(
        loss=model.neck(model.backbone(inputs[0])).sum()
    )
    runner.train()
    assert runner.iter == 7


def test_schedulers_follow_where_a_checkpoint_held_none(tmp_path):
    """A checkpoint saved without schedulers resumes at the right learning rate."""
    save = {'default_hooks.checkpoint.interval': 6, 'default_hooks.checkpoint.save_last': False}
    train(tmp_path, **save, **{'default_hooks.checkpoint.save_param_scheduler': False})
    before = (tmp_path / 'records.jsonl').read_text().splitlines()
    train(tmp_path, resume=True, load_from=str(tmp_path / 'iter_12.pth'), **save)
    after = (tmp_path / 'records.jsonl').read_text().splitlines()
    assert after[len(before) :] == before[12:]
