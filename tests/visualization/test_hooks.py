"""GenerationVisHook: pictures in the log, and a training that does not notice."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from noise_training import ONE_STAGE, train_tiny
from tiny import build

from nextvid_mm.visualization import GenerationVisHook


class Weights(Hook):
    """Keeps what training ends with."""

    def after_train(self, runner):
        self.state = copy.deepcopy(runner.model.state_dict())


class Pictures(Hook):
    """Takes the visualizer's place."""

    def before_train(self, runner):
        self.seen = {}
        runner.visualizer.add_image = self.add

    def add(self, name, image, step):
        self.seen[step] = (name, image)


def test_a_sheet_every_interval_and_the_same_weights_as_without(tmp_path):
    with_hook, without, pictures = Weights(), Weights(), Pictures()
    stages = [dict(ONE_STAGE[0], steps=4)]
    hook = GenerationVisHook(interval=2, clips=2, num_steps=3)
    train_tiny(tmp_path / 'a', with_hook, pictures, hook, stages=stages)
    train_tiny(tmp_path / 'b', without, stages=stages)
    assert sorted(pictures.seen) == [2, 4]
    name, image = pictures.seen[2]
    assert name == 'generated'
    assert image.dtype == np.uint8
    assert image.shape[0] == 2 * 3 * (14 + 2 * 16)
    assert with_hook.state.keys() == without.state.keys()
    assert all(torch.equal(with_hook.state[key], without.state[key]) for key in without.state)


@pytest.mark.parametrize('key', ['interval', 'clips'])
def test_counts_must_be_positive(key):
    with pytest.raises(ValueError, match=f'{key}=0'):
        GenerationVisHook(**{key: 0})


def test_a_model_that_generates_nothing_is_refused_at_the_start():
    model = build(head=None, target_generator=None)
    with pytest.raises(ValueError, match='needs a model that generates'):
        GenerationVisHook().before_train(SimpleNamespace(model=model))
