"""The published run of ViT-L at its real size (arXiv 2512.21004, Tables 6 and 8), without a model.

Whatever a formula gives is summed up over all 132,000 steps; clips are looked up at places all over
the run, and in whole epochs of sources.
"""

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from paper import SHARES, STAGES

from nextvid_mm.datasets.mixture_schedule import MixtureSchedule
from nextvid_mm.datasets.request import derive_seed, isolated_rng
from nextvid_mm.datasets.samplers import StageBatchSampler
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.plan.run_sums import run_sums
from nextvid_mm.registry import TRANSFORMS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Config.fromfile(ROOT / 'configs/nextvid/vit-l_4stage.py')
TABLE = StageTable(CONFIG.train_cfg.stages)
RANKS = 96
STARTS = (0, 12_000, 40_000, 120_000, 132_000)
# As published where they are known, any number else.
ITEMS = dict(
    imagenet=1_281_167, ssv2=168_913, kinetics400=241_255, internvid=2_000_003, own=1_500_000
)
CLIPS = 120_000 * 3072 + 12_000 * 768


@pytest.fixture(scope='module')
def schedule():
    weights = [source.weight for source in CONFIG.train_dataloader.dataset.sources]
    return MixtureSchedule(list(SHARES), weights, list(ITEMS.values()), seed=0)


def test_totals_are_the_papers():
    sums = run_sums(CONFIG, TABLE)
    assert (sums.steps, sums.clips) == (132_000, CLIPS)
    # "405M clips": a clip of 64 frames counts as four of 16. "830B tokens": of unmasked clips.
    assert sums.unit_clips == 132_000 * 3072 == 405_504_000
    assert sums.tokens == sums.unit_clips * 8 * 16 * 16
    assert sums.tokens == pytest.approx(830e9, rel=1e-3)
    assert sums.masks == [(70, 186), (22, 234)]
    assert {s.name: s.static for s in sums.sources} == {n: n == 'imagenet' for n in SHARES}
    for source in sums.sources:
        assert source.share == pytest.approx(SHARES[source.name], rel=1e-3)
    assert sum(source.clips for source in sums.sources) == CLIPS


def test_rates_samples_and_momentum_of_every_step():
    base = np.concatenate([np.linspace(*stage['lr'], stage['steps']) for stage in STAGES])
    flow = np.concatenate(
        [np.linspace(*(s['lr'] if s['flow_lr'] is None else (s['flow_lr'],) * 2), s['steps'])
         for s in STAGES]
    )  # fmt: skip
    tau = np.concatenate([np.full(stage['steps'], stage['tau_samples']) for stage in STAGES])
    for group, expected in (('base', base), ('flow', flow)):
        found = np.array([TABLE.lr(step, group) for step in range(132_000)])
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    stages = [TABLE.at(step)[1] for step in range(132_000)]
    assert [stage.tau_samples for stage in stages] == tau.tolist()
    assert {stage.ema_momentum for stage in stages} == {0.99925}


def test_a_gpu_gets_32_clips_or_8_long_ones():
    batches = TABLE.batches(RANKS)
    shares = [(b.micro_batch_size * b.accumulation, b.num_frames) for b in batches]
    assert shares == [(32, 16)] * 3 + [(8, 64)]


class Positions:
    """Stands in for the order of the clips: says which places were asked for."""

    @staticmethod
    def requests(positions, num_frames):
        return [(place, num_frames) for place in positions.tolist()]


@pytest.mark.parametrize('step', [s + d for s in STARTS[:-1] for d in (0, 1)] + [11_999, 131_999])
def test_the_ranks_share_the_positions_of_a_step(step):
    first = TABLE.samples_before(step)
    batch, frames = (3072, 16) if step < 120_000 else (768, 64)
    assert first == min(step, 120_000) * 3072 + max(step - 120_000, 0) * 768
    accumulation = [batches.accumulation for batches in TABLE.batches(RANKS)]
    passes = np.repeat(accumulation, [stage['steps'] for stage in STAGES])
    seen = []
    for rank in range(RANKS):
        sampler = StageBatchSampler(
            Positions, TABLE.plan(RANKS), rank=rank, world_size=RANKS, start_step=step
        )
        assert len(sampler) == passes[step:].sum()
        seen += [clip for part in islice(sampler, passes[step]) for clip in part]
    assert sorted(seen) == [(place, frames) for place in range(first, first + batch)]


def test_the_mixture_holds_at_every_stage_and_nearby(schedule):
    weights = np.array(list(SHARES.values()))
    for start, stop in pairwise(STARTS):
        ends = [schedule.drawn_before(TABLE.samples_before(step)) for step in (start, stop)]
        counts = np.diff(ends, axis=0)[0]
        np.testing.assert_allclose(counts / counts.sum(), weights, rtol=1e-3)
    for step in (0, 60_000, 131_000):  # a hundred steps anywhere
        first = TABLE.samples_before(step)
        last = TABLE.samples_before(step + 100)
        source = schedule.draw(np.arange(first, last)).source
        counts = np.diff([schedule.drawn_before(place) for place in (first, last)], axis=0)[0]
        assert np.bincount(source, minlength=5).tolist() == counts.tolist()
        np.testing.assert_allclose(counts / (last - first), weights, atol=3e-3)


def test_a_source_gives_its_samples_one_after_the_other(schedule):
    """Between two places stand exactly the samples that the counts before them say."""
    for step in (0, 40_000, 131_990):
        first, last = TABLE.samples_before(step), TABLE.samples_before(step + 10)
        draws = schedule.draw(np.arange(first, last))
        pairs = zip(schedule.drawn_before(first), schedule.drawn_before(last), strict=True)
        for number, (before, after) in enumerate(pairs):
            ordinals = np.arange(before, after)
            expected = schedule.items(np.full_like(ordinals, number), ordinals)
            assert (expected.epoch == ordinals // schedule.lengths[number]).all()
            own = draws.source == number
            found = sorted(zip(draws.epoch[own].tolist(), draws.item[own].tolist(), strict=True))
            wanted = zip(expected.epoch.tolist(), expected.item.tolist(), strict=True)
            assert found == sorted(wanted)


def test_every_sample_is_visited_once_in_an_epoch_of_its_source(schedule):
    clips = schedule.drawn_before(CLIPS)
    for number, length in enumerate(schedule.lengths):
        epochs = clips[number] // length
        assert epochs >= 1
        # Samples come one after the other, so all are visited `epochs` or one more times.
        ordinals = np.arange(length) + (epochs - 1) * length
        draws = schedule.items(np.full(length, number), ordinals)
        assert (draws.epoch == epochs - 1).all()
        assert (np.bincount(draws.item, minlength=length) == 1).all()


def test_masks_all_over_the_run_have_the_counts_of_the_memory_plan():
    settings = next(
        step
        for step in CONFIG.train_dataloader.dataset.pipeline
        if step.type == 'FrameIsolatedMasking'
    )
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        masking = TRANSFORMS.build(settings)
    shapes = set()
    for position in np.linspace(0, CLIPS - 1, 60).astype(int).tolist():
        with isolated_rng(derive_seed(0, position)):
            masks = masking(dict(img_shape=(256, 256)))['masks']
        shapes.add(tuple((len(mask['visible']), len(mask['hidden'])) for mask in masks))
    assert shapes == {((70, 186), (22, 234))}
