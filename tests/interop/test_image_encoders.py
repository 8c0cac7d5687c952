"""Image encoders of timm, and files that it does not write, against timm and definitions."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from nextvid_mm.interop.image_encoders import from_timm

NAME = 'vit_base_patch16_clip_224.openai'


@pytest.fixture(scope='module')
def released(tmp_path_factory):
    """A full-size CLIP image encoder with its classifier, in a file as timm's releases."""
    torch.manual_seed(0)
    model = timm.create_model(NAME.split('.')[0], pretrained=False, num_classes=512).eval()
    path = tmp_path_factory.mktemp('timm') / 'model.safetensors'
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return model, path


def test_tokens_are_those_of_timm_frame_by_frame(released):
    model, path = released
    converted = from_timm(path, NAME)
    assert set(converted.dropped) == {'head.weight', 'head.bias'}
    clip = torch.rand(1, 3, 2, 224, 224) * 2 - 1
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.no_grad():
        tokens = converted.build().encode_layers(clip)[-1]
        assert tokens.shape == (1, 2, 196, 768)
        for frame in range(2):
            pixels = ((clip[:, :, frame] + 1) / 2 - mean) / std
            expected = model.forward_features(pixels)[:, 1:]  # without the class token
            torch.testing.assert_close(tokens[:, frame], expected, atol=1e-4, rtol=1e-4)


def test_the_wrong_model_is_named_with_both_shapes(released):
    with pytest.raises(ValueError, match=r'pos_embed: \(1, 197, 768\) in the file.* expected'):
        from_timm(released[1], 'vit_small_patch16_224').check()


@pytest.mark.parametrize(('name', 'message'), [(None, 'needs --model'), ('vit_none', 'unknown')])
def test_the_model_must_be_given_and_known(released, name, message):
    with pytest.raises(ValueError, match=message):
        from_timm(released[1], name)
