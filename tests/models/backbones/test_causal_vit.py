"""The encoder: shapes, masks, leaks, sizes, and its use as a backbone of both libraries."""

import pytest
import torch
from tiny import PATCH, SIZE, clips, wake

from nextvid_mm.registry import MODELS

ARCH = dict(embed_dims=24, depth=3, num_heads=2, mlp_ratio=2.0)


def make(**changes):
    settings = dict(type='CausalViT', arch=ARCH, img_size=SIZE, patch_size=PATCH) | changes
    model = MODELS.build(settings)
    model.init_weights()
    return wake(model).eval()


def test_changing_a_frame_changes_nothing_said_of_earlier_ones():
    model, clip = make(), clips()
    other = clip.clone()
    other[:, :, 4:6] = torch.rand_like(other[:, :, 4:6])  # tubelet 2
    with torch.no_grad():
        moved = (model.encode(clip) - model.encode(other)).abs().amax(dim=(0, 2, 3))
    assert moved[:2].max() == 0
    assert moved[2:].min() > 0


def test_without_causality_every_token_hears_of_every_frame():
    model, clip = make(causal=False), clips()
    other = clip.clone()
    other[:, :, 4:6] = torch.rand_like(other[:, :, 4:6])
    with torch.no_grad():
        moved = (model.encode(clip) - model.encode(other)).abs().amax(dim=(0, 2, 3))
    assert moved.min() > 0
    assert model.encode(clip, torch.tensor([[0, 3], [1, 15]])).shape == (2, 4, 2, 24)
    with pytest.raises(ValueError, match='only a causal encoder can go frame by frame'):
        model.make_cache(4)


def test_hidden_patches_are_never_read():
    model, clip = make().double(), clips().double()
    visible = torch.tensor([[0, 3, 9], [1, 2, 15]])
    other = torch.full_like(clip, 7.0)
    for row, patches in enumerate(visible):
        for patch in patches.tolist():
            y, x = PATCH * (patch // 4), PATCH * (patch % 4)
            area = (row, slice(None), slice(None), slice(y, y + PATCH), slice(x, x + PATCH))
            other[area] = clip[area]
    torch.testing.assert_close(model.encode(clip, visible), model.encode(other, visible))


def test_showing_every_patch_is_the_full_pass_in_any_order():
    model, clip = make().double(), clips().double()
    order = torch.stack([torch.randperm(16), torch.randperm(16)])
    full = model.encode(clip)
    shuffled = model.encode(clip, order)
    for row in range(2):
        torch.testing.assert_close(shuffled[row], full[row][:, order[row]], atol=1e-6, rtol=1e-6)


def test_last_layers_end_with_the_final_one():
    model, clip = make(), clips()
    layers = model.encode_layers(clip, last=3)
    assert [tuple(x.shape) for x in layers] == [(2, 4, 16, 24)] * 3
    assert torch.equal(layers[-1], model.encode(clip))
    with pytest.raises(ValueError, match='last=4 layers asked of an encoder with 3'):
        model.encode_layers(clip, last=4)


def test_checkpointing_changes_no_gradient():
    plain, saving, clip = make(), make(with_cp=True), clips()
    saving.load_state_dict(plain.state_dict())
    for model in (plain, saving):
        model.encode(clip).square().sum().backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_a_masked_clip_may_have_any_multiple_of_the_sizes():
    assert make().encode(torch.rand(1, 3, 6, 20, 12)).shape == (1, 3, 15, 24)


def test_it_serves_mmaction2():
    recognizer = MODELS.build(
        dict(
            type='Recognizer3D',
            _scope_='mmaction',
            backbone=dict(type='nextvid_mm.CausalViT', arch=ARCH, img_size=SIZE, patch_size=PATCH),
            cls_head=dict(type='I3DHead', in_channels=24, num_classes=5),
        )
    )
    scores, _ = recognizer.extract_feat(clips()[:, None], stage='head')
    assert scores.shape == (2, 5)


def test_it_serves_mmpretrain_with_images():
    classifier = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(
                type='nextvid_mm.CausalViT',
                arch=ARCH,
                img_size=SIZE,
                patch_size=PATCH,
                output='maps',
            ),
            neck=dict(type='mmpretrain.GlobalAveragePooling', dim=3),
            head=dict(type='mmpretrain.LinearClsHead', in_channels=24, num_classes=5),
        )
    )
    assert classifier(torch.rand(2, 3, SIZE, SIZE)).shape == (2, 5)


@pytest.mark.parametrize(
    ('arch', 'million'),
    [
        ('tiny', 0.99),
        ('small', 21.9),
        ('base', 86.2),
        ('large', 303),
        ('huge', 631),
        ('giant', 1012),
    ],
)
def test_sizes(arch, million):
    with torch.device('meta'):
        model = MODELS.build(dict(type='CausalViT', arch=arch))
    count = sum(p.numel() for p in model.parameters()) / 1e6
    assert count == pytest.approx(million, rel=0.005)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(arch='medium'), "arch='medium' of CausalViT is unknown; choose one of tiny, small"),
        (dict(arch=dict(depth=2)), r"needs the keys .*found \['depth'\]"),
        (dict(output='token'), "output='token' of CausalViT is not one of map, maps, tokens"),
        (dict(img_size=18), 'img_size=18 of CausalViT does not divide.*patch_size=4'),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize('steps', [[1] * 6, [4, 1, 1], [2, 3, 1]])
@pytest.mark.parametrize('masked', [False, True])
def test_cached_steps_equal_the_full_pass_while_nothing_is_evicted(steps, masked):
    model, clip = make().double(), clips(frames=12).double()
    visible = torch.tensor([[0, 3, 9], [1, 2, 15]]) if masked else None
    patches, grid = model.patchify(clip), model.grid_of(clip)
    full = model.encode_patches(patches, grid, visible, last=2)
    cache, parts = model.make_cache(window=6), []
    for part in patches.split(steps, dim=1):
        new = grid.with_tubelets(part.shape[1])
        parts.append(model.encode_step(part, new, cache, visible, last=2))
    for layer in range(2):
        got = torch.cat([part[layer] for part in parts], dim=1)
        torch.testing.assert_close(got, full[layer], atol=1e-12, rtol=1e-10)
