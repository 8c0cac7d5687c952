"""A network of one's own, a video and an image model of transformers: features and probes."""

import numpy as np
import pytest
import torch
from mmcv import imwrite
from probing import build_probe
from torch import nn
from transformers import (
    Dinov2Config,
    Dinov2Model,
    VideoMAEConfig,
    VideoMAEModel,
    ViTImageProcessor,
    VJEPA2Config,
    VJEPA2Model,
)
from transformers.models.videomae.video_processing_videomae import VideoMAEVideoProcessor
from transformers.models.vjepa2.video_processing_vjepa2 import VJEPA2VideoProcessor

from nextvid_mm.inferencers import FeatureInferencer
from nextvid_mm.models.backbones import AdaptedEncoder, TransformersEncoder
from nextvid_mm.registry import MODELS

SHAPE = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, patch_size=8)
COLOURS = dict(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
FRAMES = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)


class Own(AdaptedEncoder):
    """Ten lines of somebody's own."""

    def __init__(self, width=6, init_cfg=None):
        network = nn.Conv3d(3, 6, (2, 8, 8), (2, 8, 8))
        super().__init__(network, width, 32, 8, 2, source='my weights', init_cfg=init_cfg)

    def tokens(self, pixels):
        return self.network(pixels).flatten(2).transpose(1, 2)


@pytest.fixture
def own():
    MODELS.register_module(module=Own, name='OwnEncoder', force=True)
    yield dict(type='OwnEncoder')
    MODELS.module_dict.pop('OwnEncoder')


def test_a_network_of_ones_own_is_probed_and_gives_features(own, tmp_path):
    probe = build_probe(backbone=own, encoder=None)
    probe.init_weights()
    assert probe.encode(torch.zeros(2, 3, 4, 32, 32)).shape == (2, 32, 6)
    assert (probe.origin.path, probe.origin.weights) == ('my weights', 'encoder')
    imwrite(np.zeros((32, 40, 3), np.uint8), str(tmp_path / 'image.png'))
    item = FeatureInferencer(MODELS.build(own), num_frames=4)(tmp_path / 'image.png', 'token')[0]
    assert item.features.shape == (2, 16, 6)


def test_tokens_of_another_shape_say_what_was_expected(own):
    encoder = MODELS.build(dict(own, width=7))
    with pytest.raises(ValueError, match=r'tokens \(1, 32, 6\) .* expected \(1, 32, 7\)'):
        encoder.encode(torch.zeros(1, 3, 4, 32, 32))


def videomae(folder):
    config = VideoMAEConfig(**SHAPE, image_size=32, num_frames=4, intermediate_size=96)
    VideoMAEModel(config).save_pretrained(folder)
    processor = VideoMAEVideoProcessor(**COLOURS, do_resize=False, do_center_crop=False)
    processor.save_pretrained(folder)
    model, pixels = VideoMAEModel.from_pretrained(folder), processor(FRAMES, return_tensors='pt')
    return model(pixels['pixel_values']).last_hidden_state


def vjepa2(folder):
    config = VJEPA2Config(
        **SHAPE, crop_size=32, frames_per_clip=4, mlp_ratio=2.0, pred_hidden_size=24,
        pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    VJEPA2Model(config).save_pretrained(folder)
    processor = VJEPA2VideoProcessor(**COLOURS, do_resize=False, do_center_crop=False)
    processor.save_pretrained(folder)
    pixels = processor(FRAMES, return_tensors='pt')['pixel_values_videos']
    return VJEPA2Model.from_pretrained(folder).get_vision_features(pixels)


def dinov2(folder):
    Dinov2Model(Dinov2Config(**SHAPE, image_size=32)).save_pretrained(folder)
    processor = ViTImageProcessor(**COLOURS, do_resize=False)
    processor.save_pretrained(folder)
    pixels = processor(list(FRAMES), return_tensors='pt')['pixel_values']
    hidden = Dinov2Model.from_pretrained(folder)(pixels).last_hidden_state
    return hidden[:, 1:].flatten(0, 1)[None]


@pytest.mark.parametrize('make', [videomae, vjepa2, dinov2])
@torch.no_grad()
def test_models_of_transformers_as_they_are(tmp_path, make):
    expected = make(tmp_path / 'model')
    config = dict(type='TransformersEncoder', path=str(tmp_path / 'model'))
    encoder = MODELS.build(config).eval()
    clip = torch.from_numpy(FRAMES).permute(3, 0, 1, 2)[None] / 127.5 - 1
    tokens = encoder.encode(clip)
    torch.testing.assert_close(tokens.flatten(1, 2), expected, atol=1e-4, rtol=1e-4)
    later = clip.clone()
    later[:, :, encoder.tubelet_size :] = 0
    assert encoder.per_frame == torch.allclose(encoder.encode(later)[:, 0], tokens[:, 0], atol=1e-5)
    probe = build_probe(backbone=config, encoder=None)
    probe.init_weights()
    torch.testing.assert_close(probe.encode(clip), expected, atol=1e-4, rtol=1e-4)
    assert probe.origin.path == str(tmp_path / 'model')
    imwrite(FRAMES[0], str(tmp_path / 'image.png'))
    item = FeatureInferencer(encoder, num_frames=4)(tmp_path / 'image.png', 'pooled')[0]
    assert item.features.shape == (48,)


def test_a_length_that_videomae_has_no_positions_for(tmp_path):
    videomae(tmp_path)
    encoder = MODELS.build(dict(type='TransformersEncoder', path=str(tmp_path)))
    with pytest.raises(ValueError, match='takes clips of 4 frames as it is, found 2: a file of'):
        encoder.encode(torch.zeros(1, 3, 2, 32, 32))


def test_a_folder_that_is_not_there():
    with pytest.raises(
        FileNotFoundError, match="path='absent' of TransformersEncoder is no folder"
    ):
        TransformersEncoder('absent')
