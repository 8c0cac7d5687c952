import pytest
import torch

from benchmarks.workload import (
    SIZES,
    Workload,
    build_model,
    build_optimizer,
    make_batch,
    mask_sizes,
    precision,
)


def test_a_batch_is_what_the_loader_delivers():
    batch = make_batch(Workload('tiny', frames=4, batch=3, images=1), seed=5)
    assert [tuple(clip.shape) for clip in batch['inputs']] == [(1, 3, 4, 64, 64)] * 3
    assert batch['inputs'][0].dtype == torch.uint8
    assert [clip['static'] for clip in batch['data_samples'].info] == [True, False, False]
    assert (batch['inputs'][0] == batch['inputs'][0][:, :, :1]).all()
    assert (batch['inputs'][1] != batch['inputs'][1][:, :, :1]).any()
    for visible, hidden in mask_sizes(batch):
        assert visible + hidden == 16


def test_batches_follow_from_their_seed():
    load = Workload('tiny', frames=4)
    one, same, other = (make_batch(load, seed)['inputs'][0] for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_sizes_are_the_papers():
    load = Workload('giant', pixels=256, target='vae')
    config = load.config()
    assert config['backbone']['arch'] == SIZES['giant']
    assert config['neck']['depth'] == config['head']['decoder']['depth'] == 12
    assert config['head']['decoder']['target_channels'] == 64
    # 8 blocks of 0.15 and 2 of 0.7 on a grid of 16 x 16.
    (few, _), (fewer, _) = mask_sizes(make_batch(Workload('base', frames=2, batch=1, pixels=256)))
    assert 256 > few > fewer > 0


def test_nothing_trainable_is_zero():
    model = build_model(Workload('tiny'))
    assert all(p.any() for p in model.parameters() if p.requires_grad)
    assert torch.equal(
        model.reference.encoder.patch_embed.weight, model.backbone.patch_embed.weight
    ), 'the reference starts as a copy'


def test_the_optimiser_is_fused_or_pytorch_s_own():
    model = build_model(Workload('tiny'))
    assert build_optimizer(model, None).optimizer.defaults['fused']
    assert not build_optimizer(model, None, fused=False).optimizer.defaults['fused']


def test_precision_has_a_name():
    assert precision('cpu') in (None, 'bfloat16')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size='huger'), "size='huger' is not one of tiny, small, base, large, huge, giant"),
        (dict(target='sound'), "target='sound' is not one of pixel, vae"),
        (dict(batch=1, images=2), 'images=2 of a batch of 1 clips'),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Workload(**options)
