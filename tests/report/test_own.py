"""Pictures of a run's own videos: without labels, without a probe."""

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tiny import build, clips
from tiny_training import STAGES, settings
from torch.nn.functional import pad

from nextvid_mm.layers.attention import prefix_attention
from nextvid_mm.report import own


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('nextvid_mm')


@pytest.fixture
def config():
    made = settings()
    loader = dict(
        dataset=dict(type='TinyClips'), collate_fn=made['train_dataloader.collate_fn.type']
    )
    return Config(dict(train_cfg=dict(stages=STAGES), train_dataloader=loader))


@pytest.fixture
def model():
    return build(data_preprocessor=tiny.PREPROCESSOR).eval()


def test_a_map_needs_enough_clips_and_everything_else_three(config, model):
    few, many = (own.own_section(config, model, count) for count in (3, 8))
    assert [p.caption for p in few.pictures] == [
        'Input, masked and generated; visible patches as far as the targets resolve them',
        'Input, attention and features',
    ]
    assert [p.caption for p in many.pictures][2:] == ['Features of 8 clips (t-SNE), by source']
    assert len(few.text) == 2


def test_the_clips_are_always_the_same(config, model):
    one, two = (own.own_clips(config, model, 4) for _ in range(2))
    assert torch.equal(one.clips, two.clips)
    assert one.clips.shape == (4, 3, 4, tiny.SIZE, tiny.SIZE)
    assert len(one.sources) == 4


def test_videos_that_are_gone_are_one_sentence(config, model, tmp_path):
    config.train_dataloader.dataset = dict(type='VideoFolder', folder=str(tmp_path), pipeline=[])
    section = own.own_section(config, model, 3)
    assert section.pictures == ()
    assert section.text[0].startswith('Nothing can be shown, the videos cannot be read: ')
    assert str(tmp_path) in section.text[0]


def test_a_config_that_would_run_code_is_not_built(config, model):
    config.train_dataloader.dataset = dict(type='os.system')
    assert 'os.system' in own.own_section(config, model, 3).text[0]


def test_a_model_without_a_decoder_shows_the_rest(config, model):
    del model.head
    section = own.own_section(config, model, 3)
    assert len(section.pictures) == 1
    assert section.text[1].startswith('Generated frames cannot be shown: ')


def test_attention_is_what_the_last_frame_reads(model):
    """A value of 1 at one patch comes out of the layer as the weight on that patch."""
    encoder, videos, seen = model.backbone, clips(2), []
    found = own.last_attention(encoder, videos)
    assert found.flatten(1).sum(1).tolist() == pytest.approx([1.0, 1.0])
    assert own.last_attention(torch.nn.Linear(2, 2), videos) is None
    layer = [m for m in encoder.modules() if isinstance(m, own.FrameAttention)][-1]
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    encoder.encode(videos)
    handle.remove()
    x, rope = seen[0][:2]

    def weigh(q, k, v, blocks):
        one = torch.eye(k.shape[2], dtype=v.dtype).expand(*k.shape[:2], -1, -1)
        parts = one.split(v.shape[-1], dim=-1)
        padded = [pad(part, (0, v.shape[-1] - part.shape[-1])) for part in parts]
        whole = torch.cat([prefix_attention(q, k, part, blocks) for part in padded], dim=-1)
        weights.append(whole[..., : k.shape[2]])
        return prefix_attention(q, k, v, blocks)

    weights = []
    layer(x, rope, weigh)
    expected = weights[0][:, :, -x.shape[2] :].mean((1, 2))
    torch.testing.assert_close(found.flatten(1), expected.detach().float(), atol=1e-5, rtol=1e-4)


def test_alike_tokens_have_one_colour(model):
    videos = clips(2)
    grid = model.backbone.grid_of(videos)
    tokens = torch.randn(1, grid.tubelets, grid.patches, 24)
    tokens = torch.cat([tokens, tokens])
    colours = own.feature_colours(tokens, grid, (tiny.SIZE, tiny.SIZE))
    assert colours.shape == (2, 3, grid.tubelets, tiny.SIZE, tiny.SIZE)
    assert torch.equal(colours[0], colours[1])
    assert (colours.min(), colours.max()) == (-1, 1)
