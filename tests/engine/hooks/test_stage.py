"""StageHook and EMAHook: what switches with the stage, and one update per real optimiser step."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from toy_training import STAGES, ToyModel, make_runner, train

from nextvid_mm.engine.hooks import EMAHook
from nextvid_mm.models.target_generators import EMAReference
from nextvid_mm.registry import MODELS


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


class FakeRunner:
    """The few attributes the hook reads."""

    def __init__(self, model, wrapper):
        self.model, self.optim_wrapper = model, wrapper


def momenta(monkeypatch):
    """Record the momentum of each update of a ToyModel."""
    import toy_training

    seen = []
    update = toy_training.ToyReference.update

    def record(self, backbone, momentum):
        seen.append(momentum)
        update(self, backbone, momentum)

    monkeypatch.setattr(toy_training.ToyReference, 'update', record)
    return seen


@pytest.mark.parametrize('micro', [None, 2])
def test_once_per_step_with_the_stages_momentum(tmp_path, monkeypatch, micro):
    seen = momenta(monkeypatch)
    train(tmp_path, stages=[stage | dict(micro_batch_size=micro) for stage in STAGES])
    assert seen == [0.99925] * 7 + [0.9] * 5 + [0.95] * 4


def test_the_reference_holds_the_closed_form(tmp_path):
    """After n steps: sum of the encoder's history with weights (1 - m) m^k."""
    from mmengine.hooks import Hook

    history = []

    class Keep(Hook):
        priority = 'VERY_HIGH'

        def before_train(self, runner):
            history.append(runner.model.reference.encoder[0].weight.double())

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            history.append(runner.model.backbone[0].weight.detach().double().clone())

    momentum = 0.9
    stage = STAGES[0] | dict(steps=12, ema_momentum=momentum)
    runner = train(tmp_path, Keep(), stages=[stage])
    expected = momentum**12 * history[0]
    for age, weight in enumerate(reversed(history[1:])):
        expected = expected + (1 - momentum) * momentum**age * weight
    result = runner.model.reference.encoder[0].weight.double()
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


def test_the_published_momentum_written_out():
    """reference_n = 0.99925^n reference_0 + sum of 0.00075 * 0.99925^(n-i) encoder_i."""
    torch.manual_seed(0)
    backbone = dict(type='CausalViT', img_size=16, patch_size=4, arch=dict(
        embed_dims=24, depth=1, num_heads=2, mlp_ratio=2.0))  # fmt: skip
    model = SimpleNamespace(backbone=MODELS.build(backbone), reference=EMAReference(backbone))
    model.reference.copy_from(model.backbone)
    wrapper = SimpleNamespace(should_update=lambda: True)
    loop = SimpleNamespace(stage=SimpleNamespace(ema_momentum=0.99925))
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, train_loop=loop)
    weights = [model.backbone.blocks[0].mlp.fc1.weight.detach().double().clone()]
    for step in range(20):
        with torch.no_grad():
            for parameter in model.backbone.parameters():
                parameter.add_(torch.randn_like(parameter))
        weights.append(model.backbone.blocks[0].mlp.fc1.weight.detach().double().clone())
        EMAHook().after_train_iter(runner, step)
    expected = 0.99925**20 * weights[0]
    for i in range(1, 21):
        expected = expected + 0.00075 * 0.99925 ** (20 - i) * weights[i]
    found = model.reference.encoder.blocks[0].mlp.fc1.weight.double()
    moved = (expected - weights[0]).abs().max()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * moved.item())


def test_mmengines_own_accumulation_counts_real_steps_only():
    model = ToyModel()
    optimizer = torch.optim.SGD(model.backbone.parameters(), lr=0.1)
    wrapper = OptimWrapper(optimizer, accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 8)
    runner, hook = FakeRunner(model, wrapper), EMAHook(momentum=0.5)
    counts = []
    for step in range(8):
        with wrapper.optim_context(model):
            loss = model.backbone(torch.randn(2, 6)).square().sum()
        wrapper.update_params(loss)
        hook.after_train_iter(runner, step)
        counts.append(model.reference.updates)
    assert counts == [0, 0, 1, 1, 1, 2, 2, 3]  # the last step comes early: no micro-batch is left


def test_a_skipped_step_does_not_move_the_reference(tmp_path):
    from mmengine.hooks import Hook

    moved = {}

    class Poison(Hook):
        priority = 'LOWEST'

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self.before = runner.model.reference.encoder[0].weight.clone()
            if batch_idx in (2, 5):
                data_batch['inputs'][0].fill_(torch.nan)

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            after = runner.model.reference.encoder[0].weight
            moved[batch_idx] = not torch.equal(self.before, after)

    runner = train(tmp_path, Poison())
    assert [step for step, did in moved.items() if not did] == [2, 5]
    assert runner.optim_wrapper.skipped_steps == 2
    assert all(p.isfinite().all() for p in runner.model.parameters())


def test_a_model_without_reference_and_a_wrong_momentum():
    model = ToyModel()
    model.reference = None
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    EMAHook(momentum=0.5).after_train_iter(FakeRunner(model, wrapper), 0)
    with pytest.raises(ValueError, match=r'momentum=1\.5'):
        EMAHook(momentum=1.5)


def test_mmengines_convention_is_refused_and_explained():
    with pytest.raises(
        ValueError, match=r"EMAHook\.momentum=0\.0002 .* MMEngine's EMAHook .*"
    ) as error:
        EMAHook(momentum=0.0002)
    for part in (
        'momentum * reference + (1 - momentum) * encoder',
        'write 0.9998',
        'train_cfg.stages',
    ):
        assert part in str(error.value)
    assert EMAHook(momentum=0.0).momentum == 0.0  # no average, said exactly
