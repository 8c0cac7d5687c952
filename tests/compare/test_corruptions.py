"""Spoilt clips."""

import json

import pytest
import torch
from mmengine.registry import init_default_scope
from probe_run import probe_run

from nextvid_mm.compare.corruptions import CORRUPTIONS, corruption_row, write_rows
from nextvid_mm.compare.frozen import FrozenFeatures
from nextvid_mm.compare.run import one_view
from nextvid_mm.engine.probe import build_probe
from nextvid_mm.registry import SCOPE

CLIP = torch.randint(256, (1, 3, 8, 16, 16), dtype=torch.uint8)


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_a_corruption_changes_the_clip_the_same_way_each_time(name):
    before = CLIP.clone()
    first, second = (CORRUPTIONS[name](CLIP, torch.Generator().manual_seed(3)) for _ in range(2))
    assert (first.shape, first.dtype) == (CLIP.shape, torch.uint8)
    assert torch.equal(first, second)
    assert not torch.equal(first, CLIP)
    assert torch.equal(CLIP, before)


def test_what_happens_to_time():
    clip = torch.arange(6, dtype=torch.uint8)[None, None, :, None, None].expand(1, 3, 6, 2, 2)
    draws = torch.Generator().manual_seed(0)

    def order(name):
        return CORRUPTIONS[name](clip, draws)[0, 0, :, 0, 0].tolist()

    assert order('reversed') == [5, 4, 3, 2, 1, 0]
    assert order('half rate') == [0, 0, 2, 2, 4, 4]
    assert order('static') == [3] * 6
    assert sorted(order('shuffled')) == list(range(6))


def test_a_row(videos, tmp_path):
    init_default_scope(SCOPE)
    config = one_view(probe_run(videos / 'data', tmp_path))
    model = build_probe(config, str(videos / 'encoder.pth'))
    features = FrozenFeatures(config, model, videos / 'features', 'cpu')
    row = corruption_row(features)
    assert list(row) == ['clean', *CORRUPTIONS]
    assert row['clean'] == features.linear(range(12))['top1']
    table = write_rows(dict(ours=row), tmp_path)
    assert table.row_count == 1
    assert json.loads((tmp_path / 'corruptions.json').read_text()) == dict(ours=row)
