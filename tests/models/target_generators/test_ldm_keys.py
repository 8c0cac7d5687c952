import torch

from nextvid_mm.models.target_generators.ldm_keys import from_ldm


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
