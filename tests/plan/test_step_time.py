import pytest
from clips import write_clip
from mmengine.registry import init_default_scope
from proposing import settings

from nextvid_mm.plan import step_time
from nextvid_mm.plan.proposed_configs import pretrain_text
from nextvid_mm.plan.step_time import (
    EFFICIENCY,
    Machine,
    clips_at_once,
    config_of,
    decoding_seconds,
    seconds_per_clip,
    timed_seconds_per_clip,
)
from nextvid_mm.registry import SCOPE


def config(**changes):
    return config_of(pretrain_text(settings(**changes)))


def test_gpus_are_known_by_name_or_by_memory():
    assert Machine.of_gpus(8, 80).tflops == step_time.GPUS['a100'][0]
    assert Machine.of_gpus(1, 24).tflops == step_time.GPUS['rtx3090'][0]
    assert Machine.of_gpus(1, 12).tflops == step_time.GPUS['rtx3090'][0]
    assert Machine.of_gpus(2, 80, 'h100').name == '2 x h100 of 80 GB'
    with pytest.raises(ValueError, match='--gpu b9000 is not one of rtx3090'):
        Machine.of_gpus(1, 80, 'b9000')
    assert Machine.cpu().world_size == 1


def test_a_forecast_is_work_over_rate():
    stages = settings().stages
    one, eight = (
        seconds_per_clip(config(on_cpu=False), stages, Machine.of_gpus(count, 80))
        for count in (1, 8)
    )
    assert one == pytest.approx([8 * seconds for seconds in eight])
    assert one[3] > one[2]  # longer clips
    assert one[0] > one[2]  # four tau samples
    work = one[0] * 312e12 * EFFICIENCY
    assert 1e8 < work < 1e12  # a million weights on 128 tokens, and twice the masks


def test_clips_that_fit_are_a_power_of_two_and_grow_with_memory():
    stages = settings().stages[::3]
    small, large = (
        clips_at_once(config(on_cpu=False), stages, Machine.of_gpus(1, memory))
        for memory in (1, 80)
    )
    assert all(n & (n - 1) == 0 for n in (*small, *large))
    assert small[0] < large[0]
    assert large[1] < large[0]
    assert clips_at_once(config(on_cpu=False), stages[:1], Machine.of_gpus(1, 0.01)) == [0]


def test_real_steps_are_timed_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(step_time, '_WARM_UP', 1)
    monkeypatch.setattr(step_time, '_TIMED', 1)
    monkeypatch.setattr(step_time, '_DECODED', 2)
    init_default_scope(SCOPE)
    (tmp_path / 'videos').mkdir()
    for number in range(4):
        write_clip(tmp_path / 'videos' / f'{number}.mp4')
    given = settings(folder='videos', img_size=32, patch_size=8)
    made = config_of(pretrain_text(given))
    made.train_dataloader.update(num_workers=0, persistent_workers=False)
    stages = [dict(vars(stage), batch_size=2, micro_batch_size=2) for stage in given.stages[1:3]]
    seconds = timed_seconds_per_clip(made, [type(given.stages[0])(**s) for s in stages])
    assert len(seconds) == 2
    assert all(value > 0 for value in seconds)
    assert decoding_seconds(made, 8) > 0
    assert [path.name for path in tmp_path.iterdir()] == ['videos']
