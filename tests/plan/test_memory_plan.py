"""The memory plan: its weights against real allocations, its sums, its tool."""

import runpy
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from processes import run
from torch.profiler import ProfilerActivity, profile

from nextvid_mm.engine.stages import StageTable
from nextvid_mm.plan.activations import Activations, build_on_meta
from nextvid_mm.plan.memory_plan import StageKind, Weights, count_weights, plan, stage_kinds

ROOT = Path(__file__).resolve().parents[2]
SMALL = Weights(trainable=1000, still=0, reference=600, frozen=400, largest_unit=50, resident=400)
NOTHING = Activations(kept=0)


def _allocated(work):
    """Bytes that PyTorch's allocator hands out during ``work()`` and has not got back by its end.

    Resident memory would not do: whether a page of zeros counts is up to the kernel.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    return sum(entry.self_cpu_memory_usage for entry in found.key_averages())


def _allocate(path):
    """Weights, gradients and optimiser of the published ViT-L, with what they took."""
    config = Config.fromfile(ROOT / 'configs/nextvid/vit-l_4stage.py')
    model = build_on_meta(config.model)
    frozen = ('target_generator', 'reference')
    trained = [part for name, part in model.named_children() if name not in frozen]
    sizes = {
        name: _allocated(partial(model.get_submodule(name).to_empty, device='cpu'))
        for name in frozen
    }
    sizes['parameters'] = _allocated(lambda: [part.to_empty(device='cpu') for part in trained])
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert all(p.device.type == 'cpu' for p in model.parameters())

    def backward():
        for parameter in trainable:
            parameter.grad = torch.zeros_like(parameter)

    sizes['gradients'] = _allocated(backward)
    optimizer = torch.optim.AdamW(trainable, lr=0.0, fused=True)
    sizes['optimizer'] = _allocated(optimizer.step)
    torch.save((sizes, count_weights(model)), path)


def test_weights_of_vit_l_take_what_is_planned(tmp_path):
    """Really allocated, in a process of its own; small buffers and counters: 2 % at most."""
    assert run(_allocate, tmp_path / 'sizes.pth') == [0]
    with torch.serialization.safe_globals([Weights]):
        sizes, weights = torch.load(tmp_path / 'sizes.pth')
    found = plan(weights, NOTHING, clips=0)
    assert weights.trainable == pytest.approx(303e6 + 22e6 + 33e6, rel=0.02)  # as published
    for name in ('parameters', 'gradients', 'optimizer', 'reference'):
        assert sizes[name] == pytest.approx(getattr(found, name), rel=0.02), name
    assert sizes['target_generator'] == pytest.approx(found.target, rel=0.05)


def test_every_gpu_has_a_copy_under_ddp():
    found = plan(SMALL, Activations(kept=7, recomputed=2), clips=3)
    assert (found.parameters, found.gradients, found.optimizer) == (4000, 4000, 8000)
    assert (found.reference, found.target) == (2400, 400)
    assert found.buffers == 6000  # buckets, and bfloat16 copies
    assert (found.activations, found.recomputed) == (21, 6)
    assert found.total == 24800 + 27


def test_shards_divide_what_lasts_but_not_what_is_gathered():
    one, eight, odd = (plan(SMALL, NOTHING, clips=0, shards=n) for n in (1, 8, 7))
    for name in ('parameters', 'gradients', 'optimizer', 'reference'):
        assert getattr(eight, name) * 8 == getattr(one, name)
    assert odd.parameters == 143 * 4  # rounded up
    assert one.buffers == eight.buffers == 2 * (400 + 2 * 50) + 4 * 50


def test_what_is_not_trained_of_the_networks_takes_room_without_gradients():
    part = replace(SMALL, trainable=300, still=700)
    whole, found = (plan(weights, NOTHING, clips=0) for weights in (SMALL, part))
    assert found.parameters == whole.parameters
    assert (found.gradients, found.optimizer) == (1200, 2400)
    assert found.buffers == 300 * 4 + 1000 * 2
    config = Config.fromfile(ROOT / 'configs/nextvid/vit-tiny_demo.py').model
    all_of_it = count_weights(build_on_meta(config))
    config.backbone.tuned = 1
    blocks = count_weights(build_on_meta(config))
    assert blocks.still > 0 == all_of_it.still
    assert blocks.trainable + blocks.still == all_of_it.trainable
    assert blocks.resident == all_of_it.resident > 0


def test_stages_that_need_the_same_are_one():
    shared = dict(steps=1, lr=1.0, num_frames=16, batch_size=32, micro_batch_size=4)
    stages = [
        dict(shared, name='a', tau_samples=4),
        dict(shared, name='b', tau_samples=4),
        dict(shared, name='c', tau_samples=1, batch_size=8),
    ]
    kinds = stage_kinds(StageTable(stages), world_size=4)
    assert kinds == [StageKind(16, 4, 4), StageKind(16, 1, 2)]


def _run_tool(monkeypatch, *arguments):
    tool = ROOT / 'tools/plan_memory.py'
    monkeypatch.setattr(sys, 'argv', [str(part) for part in (tool, *arguments)])
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    runpy.run_path(str(tool), run_name='__main__')


def test_the_tool(tmp_path, monkeypatch, capsys):
    config = tmp_path / 'short.py'
    stage = dict(name='a', steps=1, lr=1.0, tau_samples=1, num_frames=4, batch_size=8)
    config.write_text(
        f"_base_ = '{ROOT}/configs/nextvid/vit-tiny_demo.py'\ntrain_cfg = dict(stages=[{stage}])\n"
    )
    _run_tool(monkeypatch, config, '--world-size', 2)
    output = capsys.readouterr().out
    for text in ('2 GPUs, 4 frames, tau 1, DDP', '2 GPUs, 4 frames, tau 1, FSDP', 'encoder'):
        assert text in output
    with pytest.raises(SystemExit, match='plan_memory: error: .*over 7 processes'):
        _run_tool(monkeypatch, config, '--world-size', 7)
