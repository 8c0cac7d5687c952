"""Sharded training: weights, optimiser and checkpoints equal those of one process."""

import pytest
import tiny
import torch
from processes import run
from tiny_training import SHARDED, STAGES, settings
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.parallel import DistributedDataParallel
from toy_training import make_runner

from nextvid_mm.engine.hooks.health import encode_frozen
from nextvid_mm.engine.optim import AutocastOptimWrapper, StageOptimWrapperConstructor
from nextvid_mm.engine.sharding import (
    gather_optimizer_state,
    gather_weights,
    load_weights,
    read_once,
    scatter_optimizer_state,
    shard_model,
    whole,
)


def _in_two_processes(target, *args):
    assert run(_start, target, *args, world_size=2) == [0, 0]


def _start(target, *args):
    torch.distributed.init_process_group('gloo')
    torch.manual_seed(0)
    target(*args)


def _optimizer(model):
    config = dict(optimizer=dict(type='AdamW', lr=1e-3, fused=True))
    return StageOptimWrapperConstructor(config)(model).optimizer


def _step(model, optimizer):
    loss = sum(model(tiny.clips()[:, None], tiny.samples(), mode='loss').values())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def _round_trip():
    model = tiny.build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shard_model(model, **SHARDED)
    found = gather_weights(model)
    if torch.distributed.get_rank() == 0:
        assert list(found) == list(before)
        assert all(torch.equal(value, before[name]) for name, value in found.items())
    else:
        assert found == {}
    for parameter in model.parameters():
        parameter.data.zero_()
    load_weights(model, before if torch.distributed.get_rank() == 0 else {})
    for name, value in model.state_dict().items():
        assert torch.equal(whole(value), before[name]), name


def test_gathering_gives_what_was_cut_up():
    _in_two_processes(_round_trip)


def _half_of_everything():
    model = shard_model(tiny.build(), **SHARDED)
    optimizer = _optimizer(model)
    _step(model, optimizer)
    for name, parameter in model.named_parameters():
        assert isinstance(parameter, DTensor), name
        rows = -(-parameter.shape[0] // 2)
        assert parameter.to_local().shape[0] in (rows, parameter.shape[0] - rows), name
    for mine, theirs in zip(
        model.reference.encoder.parameters(), model.backbone.parameters(), strict=True
    ):
        assert (mine.placements, mine.device_mesh) == (theirs.placements, theirs.device_mesh)
        assert mine.to_local().shape == theirs.to_local().shape
    state = gather_optimizer_state(optimizer.state_dict())
    if torch.distributed.get_rank() == 0:
        torch.save(dict(optimizer=state, meta=dict(iter=3)), 'state.pth')
    checkpoint = read_once('state.pth')
    moment = checkpoint['optimizer']['state'][0]['exp_avg']
    assert moment.is_meta == (torch.distributed.get_rank() == 1)  # read by the first alone
    assert checkpoint['meta'] == dict(iter=3)
    other = _optimizer(model)
    other.load_state_dict(scatter_optimizer_state(checkpoint['optimizer'], other))
    for one, two in zip(optimizer.state.values(), other.state.values(), strict=True):
        for key in ('step', 'exp_avg', 'exp_avg_sq'):
            assert torch.equal(whole(one[key]), whole(two[key])), key
            assert type(one[key]) is type(two[key])


def test_reference_optimizer_and_weights_lie_in_equal_shards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _in_two_processes(_half_of_everything)


def _gathered_type():
    model = shard_model(tiny.build(), **SHARDED, gather_dtype='bfloat16')
    seen = []
    block = model.backbone.blocks[0].attn.qkv
    block.register_forward_hook(lambda module, args, out: seen.append(module.weight.dtype))
    with torch.autocast('cpu', torch.bfloat16):
        _step(model, _optimizer(model))
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_weights_are_gathered_in_the_type_asked_for():
    _in_two_processes(_gathered_type)


def _two_micro_batches(model, optimizer, wrapper):
    """Losses, gathers and reductions of a step of two micro-batches, after one that settles."""
    for _ in range(2):
        wrapper.begin_step(2)
        losses = []
        with CommDebugMode() as seen:
            for half in (slice(None, 2), slice(2, None)):
                with wrapper.optim_context(model):
                    batch = tiny.clips(4)[half, None], tiny.samples(4).take(half)
                    loss = sum(model(*batch, mode='loss').values())
                wrapper.update_params(loss)
                losses.append(loss.item())
        model.reference.update(model.backbone, 0.5)
    counts = {str(key).rpartition('.')[2]: count for key, count in seen.get_comm_counts().items()}
    return losses, counts


def _one_gather():
    found = {}
    for name, options in (
        ('plain', {}),
        ('ahead', dict(forward_prefetch=2, backward_prefetch=2)),
        ('once', dict(reshard_after_forward=False, reduce_once=True)),
        ('reduced once', dict(reduce_once=True)),
    ):
        torch.manual_seed(0)
        model = shard_model(tiny.build(), **SHARDED, **options)
        optimizer = _optimizer(model)
        wrapper = AutocastOptimWrapper(optimizer)
        losses, counts = _two_micro_batches(model, optimizer, wrapper)
        encode_frozen(model, tiny.clips()[:, None])
        assert not any(
            state.is_unsharded for part in model.modules() if isinstance(part, FSDPModule)
            for state in part._get_fsdp_state()._fsdp_param_groups
        )  # fmt: skip
        found[name] = (losses, counts, wrapper.grad_norm)
    for losses, _, norm in found.values():
        assert losses == pytest.approx(found['plain'][0], rel=1e-5)
        assert norm == pytest.approx(found['plain'][2], rel=1e-4)
    gathers, sums = (
        {name: seen[kind] for name, (_, seen, _) in found.items()}
        for kind in ('_allgather_base_', '_reduce_scatter_base_')
    )
    assert gathers['ahead'] == gathers['plain'] > 3 * gathers['once']
    assert sums['ahead'] == sums['plain'] > sums['reduced once'] == sums['once']


def test_gathers_and_reductions_are_saved_without_changing_a_number():
    _in_two_processes(_one_gather)


def _residual_types():
    seen = {}
    for name in ('ddp', 'fsdp'):
        torch.manual_seed(0)
        model = tiny.build()
        if name == 'fsdp':
            model = shard_model(model, **SHARDED, gather_dtype='bfloat16')
        blocks = {
            f'{part} {number}': block
            for part in ('backbone', 'neck', 'head')
            for number, block in enumerate(getattr(model, part).trunk.blocks)
        }
        blocks['reference'] = model.reference.encoder.blocks[0]
        types = seen[name] = {}
        for place, block in blocks.items():
            block.register_forward_hook(
                lambda module, args, out, place=place, types=types: types.update({place: out.dtype})
            )
        entered = DistributedDataParallel(model) if name == 'ddp' else model
        with torch.autocast('cpu', torch.bfloat16):
            loss = sum(entered(tiny.clips()[:, None], tiny.samples(), mode='loss').values())
        loss.backward()
    assert seen['ddp'] == seen['fsdp']
    assert len(seen['ddp']) > 4


def test_the_residual_stream_has_one_type_under_ddp_and_fsdp():
    _in_two_processes(_residual_types)


def _mistakes():
    model = tiny.build()
    for arguments, message in (
        (dict(units=['backbone.block']), "names 'backbone.block', which is not a part of NextVid"),
        (dict(shard_size=3), 'shard_size=3 does not divide the 2 processes'),
        (dict(gather_dtype='half'), "gather_dtype='half'; allowed"),
        (dict(forward_prefetch=-1), 'model_wrapper_cfg.forward_prefetch=-1 must be'),
        (
            dict(reshard_after_forward='no'),
            "reshard_after_forward='no'; allowed: True, False, None or a number that divides the 2",
        ),
        (dict(reshard_after_forward=3), 'reshard_after_forward=3; .* none here'),
    ):
        with pytest.raises(ValueError, match=message):
            shard_model(model, **arguments)


def test_mistakes_are_named():
    _in_two_processes(_mistakes)


def _missing():
    with pytest.raises(FileNotFoundError, match='absent.pth'):
        read_once('absent.pth')


def test_a_file_that_cannot_be_read_is_an_error_in_every_process():
    _in_two_processes(_missing)


def test_whole_tensors_pass_unchanged():
    value = torch.randn(3)
    assert whole(value) is value
    nested = gather_optimizer_state(dict(a=[value, 1], b='text'))
    assert torch.equal(nested['a'][0], value)
    assert nested['a'][1] == 1


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
    checkpoint = dict(meta=dict(iter=0), state_dict={})
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
