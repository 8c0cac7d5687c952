import pytest
from proposing import settings

from nextvid_mm.config_files import check_config, check_file
from nextvid_mm.models.algorithms import NextVid
from nextvid_mm.plan.activations import build_on_meta
from nextvid_mm.plan.proposed_configs import PAPER_MASKS, Choice, comment, pretrain_text
from nextvid_mm.plan.step_time import config_of


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(size='base', arch='base', width=768, patch_size=8, pictures=0.25),
        dict(size='large', arch='large', width=1024, patch_size=14, img_size=224, on_cpu=False),
        dict(size='small', arch='small', width=384, vavae=True, on_cpu=False, img_size=256),
    ],
)
def test_the_text_is_a_complete_config(changes, tmp_path):
    given = settings(**changes)
    text = pretrain_text(given, [Choice('size', given.size, 'it fits')], 'propose data/mine')
    (tmp_path / 'pretrain.py').write_text(text)
    check_file(str(tmp_path / 'pretrain.py'))
    assert max(map(len, text.splitlines())) <= 100
    assert '# size: ' + given.size in text
    config = config_of(text)
    check_config(config)
    assert isinstance(build_on_meta(config.model), NextVid)
    sources = config.train_dataloader.dataset.sources
    assert [source.name for source in sources] == ['videos', 'pictures'][: len(sources)]
    assert len(sources) == (2 if given.pictures else 1)
    assert sources[0].dataset.folder == given.folder
    assert config.model.backbone.get('with_cp', False) == (not given.on_cpu)
    stages = config.train_cfg.stages
    assert [stage.steps for stage in stages] == [stage.steps for stage in given.stages]


def test_names_of_folders_are_free():
    for name in ("it's mine", 'a "b"', 'é ü'):
        config = config_of(pretrain_text(settings(name=name)))
        assert config.work_dir == f'work_dirs/{name}/pretrain'


def test_without_masks_losses_look_at_what_changes():
    for masks, motion, normalized, strategies in (
        ((), 0.9, 'clip', 'none'),
        (PAPER_MASKS, None, None, [dict(num_blocks=n, scale=scale) for n, scale in PAPER_MASKS]),
    ):
        config = config_of(pretrain_text(settings(masks=masks)))
        assert config.model.head.get('motion') == motion
        assert config.model.align_head.get('normalize_target') == normalized
        (masking,) = [
            step
            for step in config.train_dataloader.dataset.pipeline
            if step.type == 'FrameIsolatedMasking'
        ]
        assert masking.strategies == strategies


def test_the_encoder_starts_from_a_file():
    start = dict(type='nextvid_mm.EncoderWeights', checkpoint='a.pth', adapt=True)
    backbone = config_of(pretrain_text(settings(start=start, tiled_rope=True))).model.backbone
    assert backbone.init_cfg == start
    assert backbone.tiled_rope is True


def test_targets_have_four_by_four_pixels_of_a_patch():
    assert [settings(patch_size=patch).pool for patch in (16, 14, 8, 4)] == [4, 7, 2, 1]


def test_long_reasons_are_wrapped():
    lines = comment(['word ' * 40]).splitlines()
    assert len(lines) > 1
    assert all(line.startswith('# ') and len(line) <= 100 for line in lines)
