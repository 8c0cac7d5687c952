import numpy as np
import pytest
from mmcv import imwrite

from nextvid_mm.inferencers import FeatureStore


def test_flags(parse):
    args = parse('extract_features', 'a.pth', 'b.mp4', 'c.txt', '--out', 'features', '--fps', 0)
    assert (args.inputs, args.fps, args.num_frames, args.batch_size) == (
        ['b.mp4', 'c.txt'],
        0,
        16,
        4,
    )
    assert args.weights is args.size is args.dtype is args.device is None


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--window', 0], '--window is for --format actionformer and bmn'),
        (['--rows', 3], '--rows is for --format bmn'),
        (['--shard-megabytes', 0], '--shard-megabytes 0 must be above 0'),
        (['--shard-megabytes', 1, '--format', 'bmn'], 'is for --format shards, not bmn'),
    ],
)
def test_flags_that_say_nothing_are_refused(call, flags, message):
    assert message in call('extract_features', 'a.pth', 'a.mp4', '--out', 'features', *flags)


def test_bad_input_is_one_line(call):
    said = call('extract_features', 'absent.pth', 'absent.mp4', '--out', 'features')
    assert said.startswith('extract_features: error: ')
    assert 'absent' in said


def test_a_config_with_an_encoder_stands_for_a_checkpoint(call, tmp_path):
    text = "model = dict(backbone=dict(type='PerFrameViT', model='vit_tiny_patch16_224'))\n"
    (tmp_path / 'own.py').write_text(text)
    imwrite(np.zeros((32, 32, 3), np.uint8), str(tmp_path / 'a.png'))
    flags = ('--out', 'features', '--num-frames', 2, '--size', 32)
    assert not call('extract_features', 'own.py', 'a.png', *flags)
    assert FeatureStore(tmp_path / 'features')['a.png'].features.shape == (2, 192)
    (tmp_path / 'own.py').write_text('model = dict()\n')
    assert 'own.py has no model.backbone' in call('extract_features', 'own.py', 'a.png', *flags)
