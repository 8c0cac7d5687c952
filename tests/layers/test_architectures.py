import pytest

from nextvid_mm.layers import ARCHITECTURES, resolve_arch


def test_a_name_or_all_settings():
    assert resolve_arch('large') == ARCHITECTURES['large']
    settings = dict(ARCHITECTURES['giant'], depth=2)
    assert resolve_arch(settings) == settings


@pytest.mark.parametrize(
    ('arch', 'message'),
    [('medium', 'choose one of tiny, small, base, large, huge, giant'), (dict(depth=2), 'found')],
)
def test_anything_else_is_refused(arch, message):
    with pytest.raises(ValueError, match=message):
        resolve_arch(arch)
