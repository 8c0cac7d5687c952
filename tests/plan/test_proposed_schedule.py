import pytest
from proposing import settings

from nextvid_mm.plan.proposed_schedule import FEWEST_STEPS, WANTED_STEPS, FittedSchedule


def fit(hours, seconds=0.01, world=1, together=(32, 32, 32, 8), **changes):
    draft = settings(**changes)
    return FittedSchedule(draft, [seconds] * 4, together, world, hours)


def test_stages_keep_the_published_proportions_and_fill_the_hours():
    fitted = fit(hours=24, size='base', width=768)
    steps = [stage.steps for stage in fitted.stages]
    assert [round(132 * n / sum(steps)) for n in steps] == [12, 28, 80, 12]
    assert fitted.hours == pytest.approx(24, rel=0.01)
    assert sum(steps) >= WANTED_STEPS
    assert [stage.num_frames for stage in fitted.stages] == [16, 16, 16, 64]
    assert fitted.stages[3].batch_size == fitted.batch // 4


def test_rates_go_with_the_batch_and_the_width():
    fitted = fit(hours=24, size='base', width=768)
    root = (fitted.batch / 3072) ** 0.5
    assert fitted.stages[0].lr[1] == pytest.approx(5e-4 * root * 1024 / 768)
    assert fitted.stages[2].flow_lr == pytest.approx((8e-4 * root,) * 2)
    assert fitted.stages[0].flow_lr is None
    narrow = fit(hours=24)
    assert narrow.stages[0].lr[1] == pytest.approx(2e-3)
    assert narrow.batch <= 64


def test_the_reference_remembers_a_hundredth_of_the_run_but_100_steps_at_least():
    long, short = fit(hours=24, size='base', width=768), fit(hours=1, seconds=0.2)
    steps = sum(stage.steps for stage in long.stages)
    assert 1 / (1 - long.momentum) == pytest.approx(steps / 99, rel=0.01)
    assert short.momentum == 0.99


def test_processes_share_the_batch():
    fitted = fit(hours=24, world=8, seconds=0.002, size='base', width=768)
    for stage in fitted.stages:
        assert stage.batch_size % 8 == 0
        assert stage.micro_batch_size <= stage.batch_size // 8
    names = [choice.name for choice in fitted.choices('fits 80 GB', 1000)]
    assert names[:3] == ['batch', 'clips at once', 'steps']


def test_passes_are_those_that_the_table_makes():
    fitted = fit(hours=24, seconds=0.03, size='base', width=768, together=(64, 64, 64, 16))
    assert fitted.batch == 96
    said = {choice.name: choice.value for choice in fitted.choices('fits 80 GB', 1000)}
    assert said['clips at once'] == '48 x 2, 12 x 2'


@pytest.mark.parametrize('seconds', [0.05115, 0.05605, 0.2])
def test_hours_that_are_too_few_say_how_many_would_do(seconds):
    with pytest.raises(ValueError, match=r'--hours 0.01 hold .* steps of 16 clips') as error:
        fit(hours=0.01, seconds=seconds)
    needed = float(str(error.value).split('--hours ')[2].split()[0])
    stages = fit(hours=needed, seconds=seconds).stages
    assert sum(stage.steps for stage in stages) >= FEWEST_STEPS - 4
