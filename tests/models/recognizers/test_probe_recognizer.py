import pytest
import torch
from probing import build_probe
from tiny import clips


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
