from pathlib import Path

from exporting import SOURCES, STAGES

from nextvid_mm.interop.model_card import write_card
from nextvid_mm.models.checkpoints.encoder import EncoderOrigin

META = dict(
    seed=3,
    mmengine_version='0.10.7',
    stages=STAGES,
    cfg=f'train_dataloader = dict(dataset=dict(sources={SOURCES!r}))',
    data=dict(lengths=[4000, 600]),
)


def card(tmp_path, meta, name='nextvid_vit_large_patch16_256', step=5):
    origin = EncoderOrigin('iter.pth', 'reference', 'abc123', step, dict(type='CausalViT'))
    return write_card(
        Path(tmp_path, 'encoder.safetensors'), origin, meta, name, 1234567
    ).read_text()


def test_it_says_what_was_trained_on_what_for_how_long(tmp_path):
    text = card(tmp_path, META)
    for line in (
        '| parameters | 1,234,567 |',
        '| optimiser steps | 5 |',
        '| SHA-256 of the weights | `abc123` |',
        '| warm-up | 4 | 0.0001 → 0.0005 | – | 4 | 16 | 3,072 | 4 |',
        '| stable | 6 | 0.0005 → 0.0001 | 0.0008 | 1 | 16 | 768 | 1 |',
        '| clips | 0.75 | 4000 | ClipListDataset |',
        '| images | 0.25 | 600 | mmpretrain.ImageNet |',
        '| mmengine (training) | 0.10.7 |',
        "timm.create_model('nextvid_vit_large_patch16_256', checkpoint_path='encoder.safetensors')",
    ):
        assert line in text, line


def test_the_commit_is_told_from_the_version(tmp_path):
    text = card(tmp_path, dict(mmengine_version='0.10.7' + 'a1' * 20))
    assert f'| mmengine (training) | 0.10.7, started in a checkout of {"a1" * 20} |' in text


def test_what_the_checkpoint_does_not_say_is_not_made_up(tmp_path):
    text = card(tmp_path, {}, name=None, step=None)
    assert '| optimiser steps | not recorded in the checkpoint |' in text
    assert 'The stage table is not recorded' in text
    assert 'The data mixture is not recorded' in text
    assert 'create_model' not in text
