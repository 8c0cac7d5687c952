import torch

from nextvid_mm.models.target_generators.ldm_keys import from_ldm, from_old_diffusers, is_ldm


def test_names_levels_and_shapes_are_translated():
    conv = torch.zeros(4, 4, 1, 1)
    renamed = from_ldm(
        {
            'encoder.down.4.attn.1.q.weight': conv,
            'encoder.mid.block_2.nin_shortcut.weight': conv,
            'decoder.up.0.block.2.norm1.bias': torch.zeros(4),
            'decoder.norm_out.weight': torch.zeros(4),
        },
        levels=5,
    )
    assert {name: tuple(value.shape) for name, value in renamed.items()} == {
        'encoder.down_blocks.4.attentions.1.to_q.weight': (4, 4),
        'encoder.mid_block.resnets.1.conv_shortcut.weight': (4, 4, 1, 1),
        'decoder.up_blocks.4.resnets.2.norm1.bias': (4,),
        'decoder.conv_norm_out.weight': (4,),
    }


def test_formats_are_told_apart_and_old_names_renamed():
    assert is_ldm({'decoder.up.0.block.2.norm1.bias': torch.zeros(4)})
    old = {'decoder.mid_block.attentions.0.proj_attn.bias': torch.zeros(4)}
    assert not is_ldm(old)
    assert list(from_old_diffusers(old)) == ['decoder.mid_block.attentions.0.to_out.0.bias']
