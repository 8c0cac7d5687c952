"""Files, folders and shards that ``transformers`` writes, against its own classes."""

import json

import pytest
import torch
from published import imagenet_pixels
from safetensors.torch import save_file
from transformers import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
    VJEPA2Model,
)

from nextvid_mm.interop.transformers_names import original_names, settings_beside
from nextvid_mm.interop.videomae import from_videomae
from nextvid_mm.interop.vjepa import from_vjepa2

CLIP = torch.rand(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
SHAPE = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, patch_size=8)


def randomise(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.1
            parameter.copy_(noise + (parameter.dim() == 1 and parameter.std() == 0) * 0.5)
    return model.eval()


def videomae(kind, **changes):
    config = VideoMAEConfig(
        **SHAPE, image_size=32, num_frames=4, intermediate_size=96, decoder_hidden_size=24,
        decoder_num_attention_heads=2, decoder_num_hidden_layers=1, decoder_intermediate_size=32,
        **changes,
    )  # fmt: skip
    return randomise(kind(config))


def vjepa2(kind):
    config = VJEPA2Config(
        **SHAPE, crop_size=32, frames_per_clip=4, mlp_ratio=2.0, num_pooler_layers=1,
        pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    return randomise(kind(config))


def theirs(model):
    """Tokens of a model of transformers, from its own pixels ``(B, T, 3, H, W)``."""
    base = getattr(model, model.base_model_prefix, model)
    pixels = imagenet_pixels(CLIP).transpose(1, 2)
    with torch.no_grad():
        if hasattr(base, 'get_vision_features'):
            return base.get_vision_features(pixels)
        return base(pixels).last_hidden_state


def ours(convert, path, **options):
    converted = convert(path, **options)
    converted.check()
    with torch.no_grad():
        return converted.build().encode_layers(CLIP)[-1].flatten(1, 2)


CASES = {
    'VideoMAEModel': lambda: (videomae(VideoMAEModel), from_videomae),
    'normed': lambda: (videomae(VideoMAEModel, use_mean_pooling=False), from_videomae),
    'without bias': lambda: (videomae(VideoMAEModel, qv_bias=False), from_videomae),
    'eps': lambda: (videomae(VideoMAEModel, layer_norm_eps=0.1), from_videomae),
    'VideoMAEForPreTraining': lambda: (videomae(VideoMAEForPreTraining), from_videomae),
    'VideoMAEForVideoClassification': lambda: (
        videomae(VideoMAEForVideoClassification),
        from_videomae,
    ),
    'VJEPA2Model': lambda: (vjepa2(VJEPA2Model), from_vjepa2),
    'VJEPA2ForVideoClassification': lambda: (vjepa2(VJEPA2ForVideoClassification), from_vjepa2),
}


@pytest.mark.parametrize('name', CASES)
def test_folders_of_transformers(tmp_path, name):
    model, convert = CASES[name]()
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(ours(convert, tmp_path), theirs(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', ['VideoMAEForPreTraining', 'VJEPA2Model'])
def test_a_file_alone_needs_the_heads_and_sizes_to_be_said(tmp_path, name):
    model, convert = CASES[name]()
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    torch.save(state, tmp_path / 'pytorch_model.bin')
    save_file(state, tmp_path / 'renamed.safetensors')
    expected = theirs(model)
    for file in ('pytorch_model.bin', 'renamed.safetensors'):
        with pytest.raises(ValueError, match=r'width 48 .*--heads'):
            convert(tmp_path / file)
        converted = convert(tmp_path / file, heads=4)
        converted.backbone.update(pretrain_size=32, pretrain_frames=4)
        with torch.no_grad():
            tokens = converted.build().encode_layers(CLIP)[-1].flatten(1, 2)
        torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('suffix', ['safetensors', 'bin'])
def test_a_folder_in_several_files(tmp_path, suffix):
    model = videomae(VideoMAEForPreTraining)
    if suffix == 'safetensors':
        model.save_pretrained(tmp_path, max_shard_size='50KB')
    else:
        model.config.save_pretrained(tmp_path)
        state, places = model.state_dict(), {}
        for number, names in enumerate((list(state)[::2], list(state)[1::2]), 1):
            file = f'pytorch_model-{number:05}-of-00002.bin'
            torch.save({name: state[name] for name in names}, tmp_path / file)
            places |= dict.fromkeys(names, file)
        text = json.dumps(dict(metadata={}, weight_map=places))
        (tmp_path / 'pytorch_model.bin.index.json').write_text(text)
    assert len(list(tmp_path.glob(f'*-of-*.{suffix}'))) > 1
    torch.testing.assert_close(ours(from_videomae, tmp_path), theirs(model), atol=1e-4, rtol=1e-4)


def test_biases_as_older_releases_name_them(tmp_path):
    model = videomae(VideoMAEForVideoClassification)
    state = {
        key.replace('query.bias', 'q_bias').replace('value.bias', 'v_bias'): value
        for key, value in model.state_dict().items()
    }
    torch.save(state, tmp_path / 'pytorch_model.bin')
    model.config.save_pretrained(tmp_path)
    found = ours(from_videomae, tmp_path / 'pytorch_model.bin')
    torch.testing.assert_close(found, theirs(model), atol=1e-4, rtol=1e-4)


def test_what_no_shape_tells_is_taken_from_the_config_beside(tmp_path):
    vjepa2(VJEPA2Model).save_pretrained(tmp_path)
    backbone = from_vjepa2(tmp_path).backbone
    assert (backbone['arch']['num_heads'], backbone['pretrain_size']) == (4, 32)
    with pytest.raises(ValueError, match="config.json there is of a 'vjepa2', expected 'videomae'"):
        from_videomae(tmp_path)
    settings = json.loads((tmp_path / 'config.json').read_text())
    (tmp_path / 'config.json').write_text(json.dumps(settings | dict(hidden_act='relu')))
    with pytest.raises(ValueError, match="hidden_act='relu'"):
        from_vjepa2(tmp_path)
    for text, message in (('{', 'is no JSON'), ('[]', 'holds a list')):
        (tmp_path / 'config.json').write_text(text)
        with pytest.raises(ValueError, match=message):
            settings_beside(tmp_path)


def test_a_third_of_the_attention_that_is_missing_is_named():
    state = videomae(VideoMAEModel).state_dict()
    del state['encoder.layer.1.attention.attention.key.weight']
    with pytest.raises(ValueError, match=r'blocks.1.attn.key.weight is missing beside'):
        original_names(state)
