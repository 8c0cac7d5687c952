"""Counted activations are those of the model's own forward pass."""

import copy
from pathlib import Path

import pytest
import tiny
import torch
from mmengine.config import Config

from nextvid_mm.plan.activations import (
    PARTS,
    ActivationCounter,
    build_on_meta,
    recompute_of,
    visible_patches,
)

BASELINES = Path(__file__).resolve().parents[2] / 'configs/baselines'
PATCHES = (tiny.SIZE // tiny.PATCH) ** 2


def _config(depth=2, **changes):
    config = copy.deepcopy(tiny.CONFIG)
    config['backbone']['arch']['depth'] = depth
    config['neck'].update(changes.get('neck', {}))
    config['head']['decoder'].update(changes.get('decoder', {}))
    return config


@pytest.fixture(scope='module')
def counter():
    return ActivationCounter(_config(), [10, 5])


def _kept_in_truth(config, frames, tau):
    """What a real forward pass in float32 keeps for the second of two clips."""
    model = tiny.build(**{key: config[key] for key in ('backbone', 'neck', 'head')})
    model.head.tau_samples = tau
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def kept(clips):
        storages = {}

        def keep(tensor):
            if tensor.untyped_storage().data_ptr() not in weights:
                storages[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = model.loss(tiny.clips(clips, frames), tiny.samples(clips))
        assert losses
        return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())

    return kept(2) - kept(1)


def test_without_autocast_it_is_what_autograd_really_keeps(monkeypatch):
    monkeypatch.setattr('nextvid_mm.plan.activations.AUTOCAST', None)
    config = _config(depth=3)
    counted = ActivationCounter(config, [10, 5]).count(8, 2)
    assert counted.recomputed == 0
    assert counted.kept == pytest.approx(_kept_in_truth(config, 8, 2), rel=0.02)


def test_autocast_and_checkpointing_save_memory(counter):
    none = counter.count(8, 2)
    encoder = counter.count(8, 2, dict(backbone=True))
    everything = counter.count(8, 2, dict.fromkeys(PARTS, True))
    assert none.kept > encoder.kept > everything.kept
    assert 0 < encoder.recomputed <= everything.recomputed < none.kept - everything.kept
    assert none.recomputed == 0


def test_products_are_a_part_of_what_is_kept(counter):
    """12 of some 18 widths of a token in the encoder: x, q, k, v, attention, its sum, the MLP's."""
    none, products, everything = (
        counter.count(8, 2, dict.fromkeys(PARTS, how)).kept for how in (False, 'products', True)
    )
    assert everything < products < 0.8 * none
    light = counter.count(8, 2, dict.fromkeys(PARTS, 'light')).kept
    assert products < light < none


def test_it_grows_with_the_frames_that_are_predicted(counter):
    kept = {frames: counter.count(frames, 2).kept for frames in (8, 16)}
    assert kept[16] / kept[8] == pytest.approx(7 / 3, rel=0.1)  # tubelets


def test_alignment_alone():
    config = _config() | dict(head=None, target_generator=None)
    assert ActivationCounter(config, [10, 5]).count(8, 1).kept > 0


def test_targets_of_the_reference_alone():
    config = Config.fromfile(BASELINES / 'vjepa_demo.py').model
    assert ActivationCounter(config, [10, 5]).count(8, 1).kept > 0


def test_unknown_parts_are_refused(counter):
    with pytest.raises(ValueError, match=r"recompute=\['encoder'\]: not among"):
        counter.count(8, 1, dict(encoder=True))


def test_what_a_config_recomputes():
    config = _config(neck=dict(with_cp='products'), decoder=dict(with_cp=True))
    assert recompute_of(config) == dict(backbone=False, neck='products', head=True)


def test_meta_models_take_no_memory():
    assert {p.device.type for p in build_on_meta(_config()).parameters()} == {'meta'}


def test_visible_patches_come_from_the_mask():
    mask = dict(type='FrameIsolatedMasking', patch_size=tiny.PATCH)
    strategies = [dict(num_blocks=1, scale=0.4, num_visible=9)]
    assert visible_patches([dict(type='Other'), mask | dict(strategies=strategies)], tiny.SIZE) == [
        9
    ]
    assert visible_patches([mask | dict(strategies='none')], tiny.SIZE) == [PATCHES]
    with pytest.raises(ValueError, match='has no FrameIsolatedMasking'):
        visible_patches([], tiny.SIZE)
