"""What the sharded Runner does apart from training; that is in tests/integration."""

import torch
from processes import run
from tiny_training import STAGES, settings
from toy_training import make_runner


def test_with_one_process_it_is_the_plain_runner(tmp_path):
    plain = make_runner(tmp_path / 'a', STAGES, **settings())
    sharded = make_runner(tmp_path / 'b', STAGES, **settings(sharded=True))
    assert not sharded.is_sharded
    assert type(sharded.model) is type(plain.model)


def _weights(path):
    runner = make_runner(path, STAGES, launcher='pytorch', **settings(sharded=True))
    assert runner.is_sharded
    assert {p.dtype for p in runner.model.parameters()} == {torch.float32}
    runner._init_model_weights()  # what Runner.train does next: they must stay
    runner.call_hook('before_run')
    before = runner.model.neck.blocks[0].mlp.fc1.weight.full_tensor().clone()
    state = dict(before_save=True)
    runner._gathered['state_dict'] = state
    checkpoint = dict(meta={}, state_dict={})
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    assert checkpoint['state_dict'] is state
    after = runner.model.neck.blocks[0].mlp.fc1.weight.full_tensor()
    assert torch.equal(before, after)


def test_weights_are_initialised_once_and_checkpoints_get_whole_tensors(tmp_path):
    assert run(_weights, tmp_path, world_size=2) == [0, 0]


def _plain_weights(path):
    runner = make_runner(path / 'source', STAGES, launcher='pytorch', **settings(sharded=True))
    expected = torch.load(path / 'weights.pth', weights_only=True)
    runner.load_checkpoint(str(path / 'weights.pth'))
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value.full_tensor(), expected[name]), name
    before = runner.model.neck.query.full_tensor()
    runner.load_checkpoint(str(path / 'encoder.pth'))
    for part in (runner.model.backbone, runner.model.reference.encoder):
        for name, value in part.state_dict().items():
            assert torch.equal(value.full_tensor(), 2 * expected['backbone.' + name]), name
    assert torch.equal(runner.model.neck.query.full_tensor(), before)


def test_bare_weights_and_an_encoder_alone_can_be_loaded(tmp_path):
    plain = make_runner(tmp_path / 'plain', STAGES, **settings())
    state = plain.model.state_dict()
    torch.save(state, tmp_path / 'weights.pth')
    encoder = {name: 2 * value for name, value in state.items() if name.startswith('backbone.')}
    torch.save(dict(state_dict=encoder), tmp_path / 'encoder.pth')
    assert run(_plain_weights, tmp_path, world_size=2) == [0, 0]
