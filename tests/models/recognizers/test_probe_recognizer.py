import pytest
import torch
from probing import build_probe, probe_config, toy_batches
from tiny import CONFIG, clips

from nextvid_mm.engine.probe import ProbeOptimWrapperConstructor
from nextvid_mm.registry import MODELS


def test_one_frame_stands_for_the_clip():
    model, video = build_probe(single_frame=True), clips()
    middle = video[:, :, [4]].expand_as(video)
    assert torch.equal(model.encode(video), model.encode(middle))
    moving = build_probe()
    assert not torch.equal(moving.encode(video), moving.encode(middle))


def test_segments_of_a_view_are_pooled_together_and_views_apart():
    model = build_probe(num_segments=2)
    inputs = torch.rand(3, 4, 3, 8, 16, 16)  # two views of two segments
    views = list(model.views(inputs))
    assert [tuple(v.shape) for v in views] == [(3, 2 * 64, 24)] * 2
    torch.testing.assert_close(views[1][:, 64:], model.encode(inputs[:, 3]))


def test_spaced_layers_are_chosen_by_number():
    video, names = clips(), dict(arch=dict(embed_dims=24, depth=4, num_heads=2, mlp_ratio=2.0))
    spaced = build_probe(backbone=CONFIG['backbone'] | names, layers=[0, 2])
    every = spaced.backbone.encode_layers(video, last=4)
    expected = torch.cat([every[0].flatten(1, 2), every[2].flatten(1, 2)], dim=1)
    torch.testing.assert_close(spaced.encode(video), expected)
    assert build_probe(backbone=CONFIG['backbone'] | names, last_layers=2).layers == [2, 3]
    for wrong in ([2, 1], [1, 1], [-1], [3, 4], []):
        with pytest.raises(ValueError, match=r'model.layers=.* from 0 to 3'):
            build_probe(backbone=CONFIG['backbone'] | names, layers=wrong)


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (dict(last_layers=0), 'last=0 layers asked of an encoder with 2'),
        (dict(last_layers=3), 'last=3 layers asked of an encoder with 2'),
        (dict(num_segments=0), 'model.num_segments=0 must be'),
        (dict(clips_per_pass=0), 'model.clips_per_pass=0 must be'),
    ],
)
def test_numbers_that_make_no_sense_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        build_probe(**change)


@pytest.mark.filterwarnings('ignore:.*which is a no-op')
def test_an_encoder_built_by_loading_goes_where_the_model_is():
    state = build_probe().state_dict()
    model = MODELS.build(probe_config(backbone=None)).to('meta')
    model.load_state_dict(state)
    assert {p.device.type for p in model.parameters()} == {'meta'}
    model = MODELS.build(probe_config(backbone=None))
    model.load_state_dict(state)
    assert torch.equal(model.state_dict()['backbone.norm.weight'], state['backbone.norm.weight'])


def test_chunks_change_nothing():
    video = clips(5)
    small, large = build_probe(clips_per_pass=2), build_probe(clips_per_pass=32)
    large.load_state_dict(small.state_dict())
    torch.testing.assert_close(small.encode(video), large.encode(video))


def test_the_encoder_is_frozen():
    model = build_probe().train()
    assert not model.backbone.training
    assert not model.encode(clips()).requires_grad


def test_clips_must_fit_the_segments():
    with pytest.raises(ValueError, match='3 clips per video are no multiple of model.num_segments'):
        list(build_probe(num_segments=2).views(torch.rand(1, 3, 3, 8, 16, 16)))


def test_a_batch_is_normalised_view_by_view_to_the_same_tokens():
    model = build_probe(num_segments=2)
    (batch,) = toy_batches(count=3, batch=3, clips=4)
    whole = model.data_preprocessor(batch, training=False)['inputs']
    for ours, expected in zip(model.views_of_batch(batch), model.views(whole), strict=True):
        assert torch.equal(ours, expected)


def test_only_one_view_is_in_memory_as_floats(monkeypatch):
    """However many views there are, the preprocessor sees the clips of one at a time."""
    model = build_probe(num_segments=1)
    shapes = []
    forward = model.data_preprocessor.forward

    def watch(data, training):
        shapes.append(tuple(data['inputs'][0].shape))
        return forward(data, training)

    monkeypatch.setattr(model.data_preprocessor, 'forward', watch)
    (batch,) = toy_batches(count=2, batch=2, clips=6)
    with torch.no_grad():
        (first, _) = model.val_step(batch)
    assert shapes == [(1, 3, 8, 16, 16)] * 6
    assert first.view_scores.shape == (6, 2, 3)
    assert torch.equal(first.pred_score, first.view_scores.mean(0)[model.cls_head.selected])


def test_images_are_static_clips():
    model = build_probe(
        static_frames=8,
        data_preprocessor=dict(
            type='mmaction.ActionDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3,
            format_shape='NCHW', to_rgb=True,
        ),
    )  # fmt: skip
    image = torch.randint(256, (3, 16, 16), dtype=torch.uint8)
    clip = image[[2, 1, 0]][None, :, None].expand(1, 3, 8, 16, 16).float() / 127.5 - 1
    (tokens,) = model.views_of_batch(dict(inputs=[image], data_samples=[]))
    torch.testing.assert_close(tokens, model.encode(clip))


def test_the_record_of_the_encoder_survives_a_state_dict():
    model, other = build_probe(), build_probe()
    other.load_state_dict(model.state_dict())
    assert other.origin == model.origin
    assert other.origin.sha256


def test_dtype_is_a_known_name():
    assert build_probe(dtype='auto').dtype == 'auto'
    with pytest.raises(ValueError, match=r"model\.dtype='half'"):
        build_probe(dtype='half')


def test_a_step_on_tokens_is_the_step_on_their_videos():
    models = [build_probe().train() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    (batch,) = toy_batches(count=6, batch=6)
    (tokens,) = models[1].views_of_batch(batch)
    encoded = dict(tokens=tokens, data_samples=batch['data_samples'])
    for model, data in zip(models, (batch, encoded), strict=True):
        wrapper = ProbeOptimWrapperConstructor(dict(type='OptimWrapper'))(model)
        logged = [model.train_step(data, wrapper) for _ in range(2)]
        assert set(logged[0]) == {'loss', 'loss_cls', 'top1_acc', 'top3_acc'}
    states = [model.state_dict() for model in models]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, msg=name)
