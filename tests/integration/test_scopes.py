"""The Python API after a sibling library has set its own scope, as its ``apis`` do."""

import numpy as np
import pytest
import torch
from checkpoints import save_pretrained
from exporting import save_checkpoint
from mmcv import imwrite
from mmengine.registry import DefaultScope, init_default_scope
from probing import build_probe

from nextvid_mm.inferencers import FeatureInferencer, StreamingEncoder
from nextvid_mm.interop import export_encoder
from nextvid_mm.models.checkpoints import EncoderWeights, load_generator, open_encoder
from nextvid_mm.registry import MODELS

TINY = dict(type='CausalViT', arch='tiny', img_size=64, patch_size=16)


@pytest.fixture(params=['mmaction', 'mmpretrain', 'mmengine'])
def scope(request):
    init_default_scope(request.param)
    yield request.param
    assert DefaultScope.get_current_instance().scope_name == request.param


def test_encoders_features_and_streams(scope, tmp_path):
    save_checkpoint(tmp_path / 'iter_5.pth', TINY)
    imwrite(np.zeros((64, 80, 3), np.uint8), str(tmp_path / 'image.png'))
    encoder, _ = open_encoder(tmp_path / 'iter_5.pth')
    assert isinstance(StreamingEncoder(encoder), StreamingEncoder)
    item = FeatureInferencer(tmp_path / 'iter_5.pth')(tmp_path / 'image.png')[0]
    assert item.features.shape == (8, 128)
    export_encoder(tmp_path / 'iter_5.pth', tmp_path / 'encoder.safetensors')
    EncoderWeights(str(tmp_path / 'encoder.safetensors'))(MODELS.build(dict(TINY)))
    probe = build_probe(backbone=None, encoder=str(tmp_path / 'iter_5.pth'))
    assert probe.encode(torch.zeros(1, 3, 2, 64, 64)).shape == (1, 16, 128)


def test_whole_models_generate(scope, tmp_path):
    assert load_generator(save_pretrained(tmp_path / 'iter_7.pth')).step == 7


def test_components_of_others_are_still_found_in_their_own_scope(scope):
    with pytest.raises(KeyError, match='NotThereAtAll'):
        MODELS.build(dict(type='NotThereAtAll'))
    if scope == 'mmaction':
        assert MODELS.build(dict(type='ActionDataPreprocessor')) is not None
