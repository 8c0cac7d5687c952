import pytest
import torch

from benchmarks.attention import Pattern, compare_attention, patterns
from nextvid_mm.layers import sdpa


@pytest.mark.parametrize(('name', 'keys'), [('causal', 3), ('autoregressive', 2), ('isolated', 3)])
def test_what_is_compared_is_the_same(name, keys):
    case = Pattern(name, batch=2, heads=2, head_dim=4, frames=3, queries=3, keys=keys)
    q = torch.randn(2, 2, 9, 4, dtype=torch.float64)
    k, v = torch.randn(2, 2, 2, 3 * keys, 4, dtype=torch.float64)
    torch.testing.assert_close(case.structured(q, k, v), sdpa(q, k, v, case.mask()))


def test_a_step_has_four_places_of_attention():
    places = patterns(frames=8, batch=2, tokens=256, visible=60, size='base')
    assert [(p.name, p.frames, p.queries, p.keys) for p in places] == [
        ('causal', 8, 256, 256),
        ('causal', 7, 60, 60),
        ('autoregressive', 7, 196, 60),
        ('isolated', 7, 196, 196),
    ]
    assert [(p.heads, p.head_dim) for p in places] == [(12, 64)] * 2 + [(12, 32)] * 2


def test_the_table_has_every_variant():
    cases = patterns(frames=3, batch=1, tokens=4, visible=2, size='tiny')[1:4:2]
    report = compare_attention(cases, repeats=1, groups=(1, 2))
    assert [(row['pattern'], row['how']) for row in report.rows] == [
        ('causal', 'dense'),
        ('causal', 'structured'),
        ('causal', 'group of 1'),
        ('causal', 'group of 2'),
        ('isolated', 'dense'),
        ('isolated', 'structured'),
    ]
    assert report.rows[0]['dense over this'] == 1
