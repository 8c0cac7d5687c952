import pytest
import torch
from probe_run import save_encoder
from tiny import CONFIG

from nextvid_mm.models.checkpoints import EncoderWeights
from nextvid_mm.registry import MODELS

ARCH = CONFIG['backbone']['arch']


def encoder(path=None, weights=None, **changes):
    start = dict(type='nextvid_mm.EncoderWeights', checkpoint=path, weights=weights)
    built = MODELS.build(CONFIG['backbone'] | dict(init_cfg=start) | changes)
    built.init_weights()
    return built


def stored(path, prefix):
    state = torch.load(path, weights_only=True)['state_dict']
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def test_the_reference_is_taken_unless_the_encoder_is_asked_for(tmp_path):
    path = save_encoder(tmp_path / 'iter_5.pth')
    whole = torch.load(path, weights_only=True)
    for name in whole['state_dict']:
        if name.startswith('reference.encoder.') and whole['state_dict'][name].is_floating_point():
            whole['state_dict'][name] = whole['state_dict'][name] + 1
    torch.save(whole, path)
    for weights, prefix in ((None, 'reference.encoder.'), ('encoder', 'backbone.')):
        found = encoder(path, weights).state_dict()
        expected = stored(path, prefix)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


def test_another_encoder_is_refused_with_file_and_names(tmp_path):
    path = save_encoder(tmp_path / 'iter_5.pth')
    deeper = dict(CONFIG['backbone']['arch'], depth=3)
    with pytest.raises(
        ValueError, match='iter_5.pth is not model.backbone; depth: 3 in model.backbone, 2 '
    ):
        encoder(path, arch=deeper)
    with pytest.raises(ValueError, match='iter_5.pth.*causal: False in model.backbone, True in th'):
        encoder(path, causal=False)
    torch.save(dict(state_dict={'w': torch.zeros(1)}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='other.pth holds no weights under'):
        encoder(str(tmp_path / 'other.pth'))


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (dict(positions='rope'), "positions: 'rope' in model.backbone, 'sinusoid' in the file"),
        (dict(mean=[0.5] * 3), r'mean: \[0.5, .* in model.backbone, \[0.485, .* in the file'),
        (dict(arch=ARCH | dict(num_heads=4)), 'num_heads: 4 in model.backbone, 2 in the file'),
    ],
)
def test_weights_that_would_compute_something_else_are_refused(change, text, tmp_path):
    settings = dict(type='JointViT', arch=ARCH, pretrain_size=16, patch_size=4)
    MODELS.build(settings).save_pretrained(tmp_path / 'a')
    start = EncoderWeights(str(tmp_path / 'a'))
    start(MODELS.build(settings | dict(init_cfg=dict(type='Any'))))
    with pytest.raises(ValueError, match=text):
        start(MODELS.build(settings | change))


def test_no_checkpoint_says_what_to_write():
    with pytest.raises(ValueError, match=r'init_cfg.checkpoint=.*init_cfg=None'):
        encoder(None)
    with pytest.raises(ValueError, match="weights='ema' of EncoderWeights"):
        EncoderWeights('x.pth', 'ema')
