import pytest
import torch
from rich.console import Console

from nextvid_mm.plan import proposal
from nextvid_mm.plan.proposal import Proposer, Wishes, render, size_name
from nextvid_mm.plan.proposed_configs import PAPER_MASKS
from nextvid_mm.plan.step_time import Machine
from nextvid_mm.plan.survey import Look, Survey

CPU = Machine(0, 16e9, 0.0, 'CPU')
ARCH = dict(embed_dims=128, depth=4, num_heads=4, mlp_ratio=4.0)


def folder(seconds=60.0, rate=25.0, height=720, width=1280, videos=5000, pictures=0):
    return Survey('data/mine', videos, pictures, [Look(seconds, rate, height, width)] * 4)


@pytest.fixture(autouse=True)
def nothing_is_run(monkeypatch):
    """Steps take what their clips' frames cost; memory holds 32 clips."""
    monkeypatch.setattr(proposal, 'timed_seconds_per_clip', lambda config, stages: [
        stage.num_frames / 500 for stage in stages
    ])  # fmt: skip
    monkeypatch.setattr(proposal, 'clips_at_once', lambda *_: [64, 128, 256, 32])
    monkeypatch.setattr(proposal, 'decoding_seconds', lambda *_: 0.05)


def propose(found, machine=CPU, hours=24.0, **wishes):
    return Proposer(found, machine, Wishes(hours, **wishes), 'mine').propose()


def values(proposed):
    return {choice.name: choice.value for choice in proposed.choices}


def test_a_cpu_gets_the_smallest_encoder_on_small_frames():
    given = propose(folder()).settings
    assert (given.size, given.img_size, given.patch_size, given.queries) == ('tiny', 64, 16, 'all')
    assert given.on_cpu
    assert given.stages[0].micro_batch_size == 16
    assert given.fps == 4


def test_gpus_get_what_hours_and_videos_are_worth():
    many = folder(videos=10**6)
    sizes = [
        propose(many, Machine.of_gpus(count, 80, 'h100'), hours).settings.size
        for count, hours in ((1, 2), (8, 12), (8, 4000))
    ]
    assert sizes == ['small', 'base', 'large']
    few = propose(folder(videos=200), Machine.of_gpus(8, 80, 'h100'), 4000)
    assert few.settings.size == 'small'
    assert few.settings.img_size == 256
    assert few.settings.masks == PAPER_MASKS
    assert few.settings.queries == 'hidden'
    assert 2 <= few.settings.workers <= 16
    assert 'FORECAST' in few.choices[-1].reason


def test_small_videos_get_small_patches_and_pictures_their_share():
    tiny = folder(height=64, width=80, videos=300, seconds=5, pictures=5000)
    given = propose(tiny, Machine.of_gpus(1, 24)).settings
    assert (given.img_size, given.patch_size) == (64, 8)
    assert given.pictures == 0.25
    upright = propose(folder(height=320, width=180), Machine.of_gpus(1, 24)).settings
    assert (upright.img_size, upright.patch_size) == (160, 16)


def test_small_grids_are_shown_whole_and_losses_look_at_what_changes():
    small = propose(folder(), hours=2)
    assert (small.settings.img_size, small.settings.patch_size) == (64, 16)
    assert small.settings.masks == ()
    said = {choice.name: choice.value for choice in small.choices}
    assert said['masks'] == 'none'
    assert 'motion=0.9' in said['losses']
    grid = propose(folder(height=64, width=80), Machine.of_gpus(1, 24))
    assert grid.settings.masks == PAPER_MASKS  # 8 x 8 patches
    assert 'losses' not in {choice.name for choice in grid.choices}


def test_the_table_says_what_twice_the_hours_change():
    proposer = Proposer(folder(), CPU, Wishes(24.0), 'mine')
    console = Console(width=200, record=True)
    console.print(render(proposer.propose(), proposer.propose(48)))
    text = console.export_text()
    assert 'twice the hours' in text
    steps = next(line for line in text.splitlines() if '│ steps' in line).split('│')
    count, later = (int(steps[n].split('=')[0].replace(',', '')) for n in (2, 4))
    assert later == pytest.approx(2 * count, rel=0.01)
    size = next(line for line in text.splitlines() if '│ size' in line).split('│')
    assert not size[4].strip()


def test_a_budget_that_is_too_small_says_what_would_do():
    with pytest.raises(ValueError, match=r'--hours 0.01 hold .* too few for four stages: --hours'):
        propose(folder(), hours=0.01)


def test_an_encoder_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(proposal, 'clips_at_once', lambda *_: [1, 1, 1, 0])
    with pytest.raises(ValueError, match='does not fit CPU with a single clip'):
        propose(folder(), size='base')


def test_of_the_sizes_one_is_taken_that_fits(monkeypatch):
    rooms = {'large': [1, 1, 1, 0], 'base': [8, 8, 8, 2]}
    monkeypatch.setattr(
        proposal, 'clips_at_once', lambda config, *_: rooms[config.model.backbone.arch]
    )
    found = propose(folder(videos=10**6), Machine.of_gpus(8, 10, 'h100'), 4000)
    assert found.settings.size == 'base'
    assert found.settings.stages[0].micro_batch_size == 8


def test_sizes_have_names():
    assert size_name('base') == size_name(dict(proposal.ARCHITECTURES['base'])) == 'base'
    assert size_name(ARCH | dict(depth=3)) == '3 blocks of width 128'


def save(path, backbone):
    torch.save(
        dict(
            state_dict={'backbone.w': torch.zeros(1)},
            meta=dict(cfg=f'model = dict(backbone={backbone!r})'),
        ),
        path,
    )
    return str(path)


def test_going_on_from_an_encoder_says_what_is_new_to_it(tmp_path):
    joint = dict(type='JointViT', arch=ARCH, patch_size=32, positions='sinusoid', pretrain_size=224)
    proposed = propose(folder(), start=save(tmp_path / 'videomae.pth', joint))
    said = {choice.name: choice.reason for choice in proposed.choices}
    assert said['attention'].startswith('NEW to these weights')
    assert 'sinusoid' in said['positions']
    assert said['patch embedding'] == 'those of 32 px would leave too few patches'
    given = proposed.settings
    assert given.start['adapt'] is True
    assert (given.arch, given.patch_size) == ('tiny', 16)
    ours = dict(type='CausalViT', arch='tiny', patch_size=16)
    own = propose(folder(), start=save(tmp_path / 'own.pth', ours))
    assert {'attention', 'positions', 'patch embedding'} & set(values(own)) == set()
    vjepa = dict(joint, positions='tiled_rope', patch_size=16)
    assert propose(folder(), start=save(tmp_path / 'v.pth', vjepa)).settings.tiled_rope is True


def test_starts_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match='--size and --from'):
        propose(folder(), size='base', start='a.pth')
    torch.save(dict(state_dict={'backbone.w': torch.zeros(1)}), tmp_path / 'bare.pth')
    with pytest.raises(ValueError, match='does not say what its encoder is'):
        propose(folder(), start=str(tmp_path / 'bare.pth'))
