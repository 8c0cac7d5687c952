"""The algorithm: what flows where, and the average over strategies."""

import pytest
import torch
from tiny import CONFIG, build, clips, samples, wake

from nextvid_mm.layers import BatchMask, ClipBatch


def test_losses_are_averages_over_strategies():
    model, clip, data = wake(build()), clips(), samples(visible=(10, 5))
    both = model.loss(clip, data)
    assert set(both) == {'loss_flow', 'loss_align'}
    first = []
    for number in range(2):
        part = data._replace(masks=data.masks[number : number + 1])
        first.append(model.loss(clip, part)['loss_align'])
    torch.testing.assert_close(both['loss_align'], sum(first) / 2)


def test_gradients_reach_the_encoder_through_either_loss_and_no_teacher():
    model, clip, data = wake(build()), clips(), samples()
    for name in ('loss_flow', 'loss_align'):
        model.zero_grad()
        model.loss(clip, data)[name].backward()
        assert model.backbone.patch_embed.weight.grad.abs().max() > 0
        assert model.neck.query.grad.abs().max() > 0
        assert all(p.grad is None for p in model.reference.parameters())


def test_the_loss_belongs_to_the_samples_not_to_the_batch():
    model, clip, data = wake(build()), clips(4), samples(4)
    whole = model.loss(clip, data)
    halves = [model.loss(clip[i : i + 2], data.take(slice(i, i + 2))) for i in (0, 2)]
    for name, value in whole.items():
        torch.testing.assert_close(value, (halves[0][name] + halves[1][name]) / 2)


def test_predictions_do_not_hear_of_their_own_or_later_frames():
    model, clip = wake(build()).eval(), clips()
    mask = samples().masks[0]
    other = clip.clone()
    other[:, :, 4:6] = torch.rand_like(other[:, :, 4:6])  # tubelet 2
    with torch.no_grad():
        z, moved = (
            model.predict_tokens(model.backbone.patchify(x), model.backbone.grid_of(x), mask)[0]
            for x in (clip, other)
        )
    change = (z - moved).abs().amax(dim=(0, 2, 3))
    assert change[:2].max() == 0, 'frames 1 and 2'
    assert change[2] > 0, 'frame 3'


def test_leaving_out_the_last_frame_of_the_encoder_changes_no_prediction_and_no_gradient():
    model, clip = wake(build()).double(), clips().double()
    grid, patches = model.backbone.grid_of(clip), model.backbone.patchify(clip)
    mask = samples().masks[0]
    weight, results = torch.randn(2, 3, 6, 12, dtype=torch.float64), []
    for whole in (False, True):
        if whole:
            context = model.backbone(patches, grid, mask.visible)[-1]
            z = model.neck(context, grid, mask.visible, mask.queried)
        else:
            z = model.predict_tokens(patches, grid, mask)[0]
        parameters = [*model.backbone.parameters(), *model.neck.parameters()]
        results.append((z, *torch.autograd.grad((z * weight).sum(), parameters)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


def test_all_patches_can_be_queried():
    model, data = wake(build(queries='all')), samples()
    model.loss(clips(), data)['loss_flow'].backward()
    mask = data.masks[0]
    clip = clips()
    z, positions = model.predict_tokens(
        model.backbone.patchify(clip), model.backbone.grid_of(clip), mask
    )
    assert z.shape == (2, 3, 16, 12)
    assert positions is None


def test_either_loss_can_be_left_out():
    only_align = build(head=None, target_generator=None)
    assert set(only_align.loss(clips(), samples())) == {'loss_align'}
    only_flow = build(align_head=None, reference=None)
    assert set(only_flow.loss(clips(), samples())) == {'loss_flow'}


def test_generation_keeps_what_was_visible():
    model, clip = wake(build()), clips()
    visible = torch.arange(8).expand(2, 8)
    mask = BatchMask(visible, torch.arange(8, 16).expand(2, 8))
    noise = torch.randn(2, 3, 8, model.target_generator.channels)
    pixels = model.generate(clip, mask, noise, num_steps=2)
    assert pixels.shape == (2, 3, 6, 16, 16)
    torch.testing.assert_close(pixels[..., :8, :], clip[:, :, 2:, :8])
    assert not torch.allclose(pixels[..., 8:, :], clip[:, :, 2:, 8:])


def test_the_runner_entry_gives_tokens_or_losses():
    model, inputs = build(), clips()[:, None]
    assert model(inputs).shape == (2, 4, 16, 24)
    assert 'loss_flow' in model(inputs, samples(), mode='loss')
    with pytest.raises(ValueError, match="mode='predict'"):
        model(inputs, mode='predict')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(queries='visible'), "queries='visible' of NextVid is not one of hidden, all"),
        (dict(target_generator=None), 'has a head but no target_generator'),
        (dict(head=None), 'has a target_generator but no head'),
        (dict(reference=None), 'has a align_head but no reference'),
        (
            dict(head=None, target_generator=None, align_head=None, reference=None),
            'needs a head, an align_head, or both',
        ),
    ],
)
def test_half_configured_models_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_the_parts_are_entered_by_calling_them():
    """Wrappers, such as FSDP2 and forward hooks, see nothing else."""
    model, seen = build(), []
    for name in ('backbone', 'neck', 'head', 'align_head', 'target_generator', 'reference.encoder'):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    model(clips()[:, None], samples(visible=(10,)), mode='loss')
    assert sorted(seen) == sorted(
        ['backbone', 'neck', 'head', 'align_head', 'target_generator', 'reference.encoder']
    )


def test_a_batch_without_masks_is_refused():
    with pytest.raises(ValueError, match='without masks: end the pipeline.*FrameIsolatedMasking'):
        build().loss(clips(), samples(visible=()))


def test_unknown_keys_are_refused():
    with pytest.raises(TypeError, match='num_layers'):
        build(backbone=dict(CONFIG['backbone'], num_layers=3))


def test_one_tubelet_has_no_next_frame():
    with pytest.raises(ValueError, match='at least 2 tubelets, found 1: raise num_frames'):
        build().loss(clips(frames=2), samples())


def test_without_a_mask_every_patch_is_shown_and_generated():
    model, clip = wake(build()).eval(), clips()
    noise = torch.randn(2, 3, 16, model.target_generator.channels)
    other = clip.clone()
    other[:, :, 6:] = 0  # the last tubelet: generated from what lies before it
    pixels = model.generate(clip, None, noise, num_steps=2)
    assert pixels.shape == (2, 3, 6, 16, 16)
    assert torch.equal(pixels, model.generate(other, None, noise, num_steps=2))


def test_a_head_of_another_size_than_the_targets_is_refused():
    with pytest.raises(
        ValueError,
        match=r'target_channels=96, but the targets of PixelTarget have 24 channels',
    ):
        build(target_generator=dict(type='PixelTarget', patch_size=4, pool=2))


def test_static_clips_have_the_same_targets():
    model, clip, data = build(), clips(), samples()
    clip[0] = clip[0, :, :1]
    expected = model.loss(clip, data)['loss_flow']
    data = ClipBatch.of([data.info[0] | dict(static=True), data.info[1]], data.masks)
    torch.testing.assert_close(model.loss(clip, data)['loss_flow'], expected)


def test_compiled_blocks_are_not_compiled_again_after_the_first_step(monkeypatch):
    """With dynamo's front end alone: what is compiled again depends on nothing behind it."""
    compile_block = torch.nn.Module.compile

    def without_code_generation(block, **settings):
        compile_block(block, **settings | dict(backend='eager'))

    monkeypatch.setattr(torch.nn.Module, 'compile', without_code_generation)
    torch._dynamo.reset()
    model = build(compile=True)

    def step():
        sum(model.loss(clips(), samples()).values()).backward()

    step()
    with torch.compiler.set_stance('fail_on_recompile'):
        step()
        step()
    with torch.compiler.set_stance('fail_on_recompile'), pytest.raises(RuntimeError):
        model.loss(clips(frames=12), samples())  # other shapes would be
