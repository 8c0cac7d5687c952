from dataclasses import replace

import pytest

from nextvid_mm.demo.data.spec import DemoSpec


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('difficulty', 1.01),
        ('difficulty', -0.1),
        ('difficulty', float('nan')),
        ('difficulty', 'hard'),
        ('num_train', 0),
        ('num_val', -1),
        ('frames', 1),
        ('fps', 7.5),
        ('size', 8),
        ('size', 65),
        ('num_images', -1),
        ('seed', True),
    ],
)
def test_a_bad_value_is_named(field, value):
    with pytest.raises(ValueError, match=field) as error:
        DemoSpec(**{field: value})
    assert repr(value) in str(error.value) or str(value) in str(error.value)


def test_digest_covers_content_but_not_counts():
    spec = DemoSpec()
    changed = {'seed': 1, 'frames': 16, 'fps': 4, 'size': 32, 'difficulty': 0.1, 'image_size': 64}
    digests = {replace(spec, **{key: value}).digest() for key, value in changed.items()}
    assert len(digests | {spec.digest()}) == len(changed) + 1
    more = replace(
        spec, num_train=12, num_val=12, num_images=1, probe_clips_per_class=1, num_val_images=3
    )
    assert more.digest() == spec.digest()
    assert DemoSpec(difficulty=1).digest() == DemoSpec(difficulty=1.0).digest()


def test_streams_of_clips_and_images_are_independent():
    spec = DemoSpec()
    streams = [
        spec.clip_rng('train', 0),
        spec.clip_rng('train', 1),
        spec.clip_rng('val', 0),
        spec.image_rng(0),
        spec.image_rng(0, 'val'),
        replace(spec, seed=1).clip_rng('train', 0),
    ]
    assert len({rng.integers(2**63) for rng in streams}) == len(streams)
    first, again = (spec.clip_rng('train', 0).random() for _ in range(2))
    assert first == again


def test_unknown_split_is_named():
    with pytest.raises(ValueError, match="'test'"):
        DemoSpec().num_clips('test')
