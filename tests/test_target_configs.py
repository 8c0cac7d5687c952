"""Every piece in configs/_base_/targets fits over a base model."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from nextvid_mm.config_files import check_config
from nextvid_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
PIECES = {path.stem: path for path in sorted((ROOT / 'configs/_base_/targets').glob('*.py'))}
CHANNELS = dict(pixel=96, vavae=64, sd_vae_f8=32, siglip2=1536, cosmos=64)
CONFIG = """\
_base_ = [{base!r}, {piece!r}]
model = dict(target_generator=_base_.target_generator, head=_base_.target_head)
"""


def test_every_piece_is_tested():
    assert PIECES.keys() == CHANNELS.keys()


@pytest.mark.parametrize('name', CHANNELS)
def test_it_builds_over_the_paper_model(tmp_path, name):
    path = tmp_path / 'config.py'
    base = str(ROOT / 'configs/nextvid/vit-l_4stage.py')
    path.write_text(CONFIG.format(base=base, piece=str(PIECES[name])))
    config = Config.fromfile(str(path))
    check_config(config, str(path))
    with DefaultScope.overwrite_default_scope('nextvid_mm'), torch.device('meta'):
        model = MODELS.build(config.model)
    assert model.target_generator.channels == CHANNELS[name] == model.head.target_channels
    assert config.model.head.loss_weight == 0.5, 'the rest of the head stays'
    assert not any(p.requires_grad for p in model.target_generator.parameters())
