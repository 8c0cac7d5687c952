import pytest
import torch

from nextvid_mm.inferencers import FeatureInferencer
from nextvid_mm.inferencers.media import MediaReader, UnreadableMediaError
from nextvid_mm.interop import export_encoder
from nextvid_mm.registry import INFERENCERS

CHANNELS, PATCHES = 24, 16


def test_shapes_and_times_of_every_kind(make, media):
    infer, path = make(), media / 'long.mp4'
    token, frame, pooled = (infer(path, kind)[0] for kind in ('token', 'frame', 'pooled'))
    assert token.features.shape == (22, PATCHES, CHANNELS)
    assert frame.features.shape == (22, CHANNELS)
    assert pooled.features.shape == (CHANNELS,)
    torch.testing.assert_close(frame.features, token.features.mean(1))
    torch.testing.assert_close(pooled.features, frame.features.mean(0))
    expected = (torch.arange(22, dtype=torch.float64) * 2 + 0.5) / 8  # two frames at 8 fps
    torch.testing.assert_close(frame.timestamps, expected, atol=1e-4, rtol=0)
    assert token.grid == (4, 4)


def test_every_row_is_the_encoders_own_output_of_the_first_window_that_covers_it(
    make, media, checkpoint
):
    encoder = checkpoint[0].reference.encoder
    (whole,) = MediaReader(None, 44, 44, 16, 2).windows(media / 'long.mp4')
    for stride in (8, 4):
        features = make(stride=stride, batch_size=3)(media / 'long.mp4', 'token')[0].features
        for row in range(22):
            starts = [s for s in [*range(0, 37, stride), 36] if s <= 2 * row < s + 8]
            clip = whole.clip[None, :, starts[0] : starts[0] + 8]
            expected = encoder.encode_layers(clip)[-1][0, row - starts[0] // 2]
            torch.testing.assert_close(features[row], expected, atol=1e-5, rtol=1e-5)


def test_the_reference_encoder_is_the_default(make, media, checkpoint, tmp_path):
    path = checkpoint[1]
    reference = make()(media / 'short.mp4')[0].features
    encoder = make(weights='encoder')(media / 'short.mp4')[0].features
    assert not torch.allclose(reference, encoder)
    exported = tmp_path / 'encoder.safetensors'
    export_encoder(path, exported)
    infer = FeatureInferencer(exported, fps=None, num_frames=8, device='cpu')
    torch.testing.assert_close(infer(media / 'short.mp4')[0].features, reference)
    assert infer.origin.sha256 == make().origin.sha256


def test_an_image_is_a_static_clip(make, media):
    (item,) = make()(media / 'image.png', 'token')
    assert item.features.shape == (4, PATCHES, CHANNELS)
    assert not item.timestamps.any()


def test_several_paths_and_the_registry(checkpoint, media):
    config = dict(type='nextvid_mm.FeatureInferencer', checkpoint=checkpoint[1], device='cpu')
    infer = INFERENCERS.build(config)
    items = infer([media / 'short.mp4', media / 'image.png'], progress=False)
    assert [item.path.rsplit('/', 1)[1] for item in items] == ['short.mp4', 'image.png']
    assert items[0].features.shape == (2, CHANNELS)  # at 0, 1/4 and 1/2 s: two rows
    with pytest.raises(UnreadableMediaError, match='text.mp4'):
        infer([media / 'short.mp4', media / 'text.mp4'], progress=False)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(num_frames=7), 'num_frames=7 must be a multiple of the tubelet of 2'),
        (dict(stride=3), 'stride=3 must be a multiple of the tubelet of 2'),
        (dict(stride=10), 'stride=10 would leave out frames: at most num_frames=8'),
        (dict(size=18), 'size=18 must be a multiple of the patch of 4'),
        (dict(fps=-1.0), 'fps=-1.0 must be above 0'),
        (dict(batch_size=0), 'batch_size=0'),
        (dict(dtype='int8'), "dtype='int8' is not one of"),
        (dict(weights='both'), "weights='both' is not one of"),
    ],
)
def test_wrong_settings_are_named(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_wrong_kinds_and_files_without_a_description_are_refused(make, media, tmp_path):
    with pytest.raises(ValueError, match="kind='clip' is not one of token, frame, pooled"):
        make()(media / 'short.mp4', 'clip')
    torch.save({'backbone.w': torch.zeros(1)}, tmp_path / 'bare.pth')
    with pytest.raises(ValueError, match=r'bare.pth does not say what its encoder is'):
        FeatureInferencer(tmp_path / 'bare.pth')
