"""A model comes back from its checkpoint as it was, or an error says why it cannot."""

import pytest
import torch
from checkpoints import save_pretrained
from ldm import LDM
from tiny import clips

from nextvid_mm.models.checkpoints import find_component, load_generator


def test_model_and_what_the_training_says_of_clips(tmp_path):
    generator = load_generator(save_pretrained(tmp_path / 'a.pth', queries='all'))
    stored = torch.load(tmp_path / 'a.pth', weights_only=True)['state_dict']
    for name, value in generator.model.state_dict().items():
        assert torch.equal(value, stored[name])
    assert generator.model.queries == 'all'
    assert not generator.model.training
    assert (generator.step, generator.num_frames, generator.fps) == (7, 12, 8)
    assert generator.masking['strategies'] == [dict(num_blocks=3, scale=0.15)]


def test_components_are_found_by_type_with_or_without_scope():
    config = dict(a=[dict(type='x.B', n=1)], c=(dict(type='B', n=2),))
    assert find_component(config, 'B')['n'] == 1
    assert find_component(config, 'x') is None


def test_an_autoencoder_that_is_not_in_the_file_is_read_from_where_the_config_says(tmp_path):
    torch.save(dict(state_dict=LDM().state_dict()), tmp_path / 'vae.pt')
    changes = dict(
        target_generator=dict(
            type='VAVAETarget',
            checkpoint=str(tmp_path / 'vae.pt'),
            patch_size=4,
            base_channels=32,
            channel_mult=(1, 2, 2),
            latent_channels=4,
        ),
        head=dict(
            type='FlowMatchingHead',
            decoder=dict(
                target_channels=8, condition_channels=12, embed_dims=24, depth=1, num_heads=2
            ),
        ),
    )
    whole, slim = (
        load_generator(save_pretrained(tmp_path / f'{len(drop)}.pth', drop=drop, **changes)).model
        for drop in ((), ['target_generator.'])
    )
    clip = clips(1)
    torch.testing.assert_close(whole.target_generator(clip), slim.target_generator(clip))
    (tmp_path / 'vae.pt').unlink()
    load_generator(tmp_path / '0.pth')
    with pytest.raises(FileNotFoundError, match=r'vae\.pt'):
        load_generator(tmp_path / '1.pth')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(drop=['head.', 'neck.', 'align_head.']),
            r"holds no decoder \(head\.\*\), its parts are \['backbone', 'reference'\].*encoder "
            'alone cannot generate; give the pretraining checkpoint',
        ),
        (dict(config=False), 'does not record the configuration'),
        (
            dict(drop=['neck.query']),
            r'(?s)does not hold the model it records: .*missing \(1\): neck.query ',
        ),
        (
            dict(target_generator=dict(type='PixelTarget', patch_size=4, norm_pix=True)),
            'norm_pix=True of PixelTarget.*cannot be turned back into pixels',
        ),
    ],
)
def test_what_cannot_generate_says_why(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load_generator(save_pretrained(tmp_path / 'a.pth', **options))


def test_damaged_and_missing_files_are_named(tmp_path):
    path = save_pretrained(tmp_path / 'a.pth')
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r'a\.pth is cut off'):
        load_generator(path)
    path.write_text('not a checkpoint')
    with pytest.raises(ValueError, match=r'a\.pth is no file of weights'):
        load_generator(path)
    with pytest.raises(FileNotFoundError, match=r'b\.pth: there is no such checkpoint'):
        load_generator(tmp_path / 'b.pth')
