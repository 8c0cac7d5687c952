import copy

import pytest
from tiny import CONFIG, clips

from nextvid_mm.registry import MODELS


def test_the_entry_point_gives_tokens_and_refuses_other_modes():
    model = MODELS.build(copy.deepcopy(CONFIG))
    assert model(clips()[:, None]).shape == (2, 4, 16, 24)
    with pytest.raises(ValueError, match="mode='predict' of NextVid.forward is not 'loss',"):
        model(clips()[:, None], mode='predict')


def test_a_predictor_of_the_same_frame_is_refused():
    neck = CONFIG['neck'] | dict(type='JointPredictor', ahead=0)
    with pytest.raises(ValueError, match='ahead=0 of JointPredictor: NextVid needs ahead=1'):
        MODELS.build(copy.deepcopy(CONFIG) | dict(neck=neck))


def test_targets_of_another_size_are_refused():
    head = dict(type='LinearRegressionHead', in_channels=12, target_channels=95)
    with pytest.raises(
        ValueError, match='target_channels=95, but the targets of PixelTarget have 96'
    ):
        MODELS.build(copy.deepcopy(CONFIG) | dict(head=head))
