import subprocess
import sys

import pytest
import timm
import torch
from exporting import save_checkpoint

from nextvid_mm.interop import export_encoder
from nextvid_mm.interop.timm_models import MODELS_OF_NAME, NextVidViT
from nextvid_mm.layers import ARCHITECTURES
from nextvid_mm.registry import MODELS

NAME = 'nextvid_vit_tiny_patch16_64'


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """A checkpoint of the demo's encoder and its export."""
    folder = tmp_path_factory.mktemp('export')
    backbone = dict(type='CausalViT', arch='tiny', img_size=64, patch_size=16)
    model = save_checkpoint(folder / 'iter_5.pth', backbone)
    export_encoder(folder / 'iter_5.pth', folder / 'encoder.safetensors')
    return model.reference.encoder, str(folder / 'encoder.safetensors')


def test_timm_loads_the_export_for_clips_and_images(exported):
    encoder, path = exported
    model = timm.create_model(NAME, checkpoint_path=path).eval()
    clip = torch.rand(2, 3, 4, 64, 64) * 2 - 1
    tokens = model.forward_features(clip)
    assert tokens.shape == (2, 2 * 16, 128)
    torch.testing.assert_close(tokens, encoder.encode(clip).flatten(1, 2))
    torch.testing.assert_close(model(clip), tokens.mean(1))
    image = clip[:, :, 0]
    still = image[:, :, None].expand(-1, -1, 2, -1, -1)
    torch.testing.assert_close(model.forward_features(image), encoder.encode(still).flatten(1, 2))


def test_a_classifier_on_exported_weights(exported):
    encoder, path = exported
    source = dict(file=path)
    model = timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=source, num_classes=7)
    model.eval()
    clip = torch.rand(1, 3, 2, 64, 64)
    features = model.forward_features(clip)
    torch.testing.assert_close(features, encoder.encode(clip).flatten(1, 2))
    assert model(clip).shape == (1, 7)
    assert model.get_classifier().out_features == model.num_classes == 7
    torch.testing.assert_close(model.forward_head(features, pre_logits=True), features.mean(1))
    model.reset_classifier(0, '')
    torch.testing.assert_close(model(clip), features)


def test_gradients_pass_with_recomputation(exported):
    model = timm.create_model(NAME, checkpoint_path=exported[1], num_classes=0)
    clip, gradients = torch.rand(1, 3, 2, 64, 64), []
    for recompute in (False, True):
        model.set_grad_checkpointing(recompute)
        model.zero_grad()
        model(clip).square().sum().backward()
        gradients.append(model.patch_embed.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_weights_of_another_model_are_refused(exported):
    with pytest.raises(RuntimeError, match='size mismatch for patch_embed.weight'):
        timm.create_model(
            NAME, checkpoint_path=exported[1], arch=ARCHITECTURES['tiny'] | dict(embed_dims=64)
        )


@pytest.mark.parametrize(
    ('name', 'width', 'depth'), [('base', 768, 12), ('large', 1024, 24), ('huge', 1280, 32)]
)
def test_sizes(name, width, depth):
    with torch.device('meta'):
        model = timm.create_model(f'nextvid_vit_{name}_patch16_256')
    assert (model.num_features, len(model.blocks)) == (width, depth)
    assert model.pretrained_cfg['input_size'] == (3, 256, 256)
    assert model.pretrained_cfg['mean'] == (0.5, 0.5, 0.5)


def test_every_name_is_registered():
    assert set(timm.list_models('nextvid_vit_*')) == set(MODELS_OF_NAME)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(in_chans=1), 'in_chans=1'),
        (dict(global_pool='token'), "global_pool='token' is not one of"),
        (dict(features_only=True), 'no features_only'),
    ],
)
def test_what_it_cannot_do_is_said(settings, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model(NAME, **settings)


def test_it_is_still_the_registered_encoder():
    encoder = MODELS.build(dict(type='CausalViT', arch='tiny', img_size=64))
    names = list(encoder.state_dict())
    assert names == list(NextVidViT('tiny', img_size=64).state_dict())


ALONE = """
import sys

class Refuse:
    names = {'mmengine', 'mmcv', 'mmaction', 'mmpretrain', 'cv2', 'diffusers'}

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition('.')[0] in self.names:
            raise ModuleNotFoundError(f'{fullname} is refused')

sys.meta_path.insert(0, Refuse())
import timm
import torch
import nextvid_mm.interop
model = timm.create_model(NAME, checkpoint_path=PATH, num_classes=0).eval()
with torch.no_grad():
    print(tuple(model.forward_features(torch.zeros(1, 3, 4, 64, 64)).shape))
assert not Refuse.names & {name.partition('.')[0] for name in sys.modules}
"""


def test_pytorch_timm_and_einops_are_enough(exported):
    """A process in which the import of everything else fails."""
    code = ALONE.replace('NAME', repr(NAME)).replace('PATH', repr(exported[1]))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '(1, 32, 128)'


def test_tokens_of_the_blocks_in_between(exported):
    encoder, path = exported
    model = timm.create_model(NAME, checkpoint_path=path).eval()
    clip = torch.rand(1, 3, 4, 64, 64) * 2 - 1
    with torch.no_grad():
        tokens, found = model.forward_intermediates(clip, norm=True, output_fmt='NLC')
        expected = encoder.encode_layers(clip, last=4)
        assert len(found) == len(model.feature_info) == 4
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs.flatten(1, 2))
        torch.testing.assert_close(tokens, model.forward_features(clip))
        (maps,) = model.get_intermediate_layers(clip, [2], reshape=True, norm=True)
        assert maps.shape == (1, 128, 2, 4, 4)
        torch.testing.assert_close(maps[0, :, 1, 2, 3], expected[2][0, 1, 11])
        image = model.forward_intermediates(clip[:, :, 0], 2, intermediates_only=True)
        assert [tuple(y.shape) for y in image] == [(1, 128, 4, 4)] * 2
    with pytest.raises(ValueError, match="output_fmt='NHWC' is not"):
        model.forward_intermediates(clip, output_fmt='NHWC')


def test_groups_for_decayed_learning_rates(exported):
    model = timm.create_model(NAME)
    groups = timm.models.group_parameters(model, model.group_matcher())
    assert [len(names) for names in groups.values()] == [
        2,
        12,
        12,
        12,
        14,
    ]  # the last with the norm
    assert model.no_weight_decay() == set()
