import json

import pytest
import torch

from nextvid_mm.engine.probe.results import (
    MEASURED,
    differences,
    draw_confusion,
    read_record,
    versions,
)


def record(**changes):
    made = {key: [1, 2] for key in MEASURED} | dict(
        config='a = 1', checkpoint='x.pth', split='val', head_sha256='ab', top1=50.0
    )
    return made | changes


def test_only_a_record_is_read(tmp_path):
    path = tmp_path / 'r.json'
    with pytest.raises(FileNotFoundError, match=r'r\.json'):
        read_record(path)
    path.write_text('{')
    with pytest.raises(ValueError, match='is not JSON'):
        read_record(path)
    path.write_text('{"split": "val"}')
    with pytest.raises(ValueError, match=r'it lacks .*confusion_matrix'):
        read_record(path)
    path.write_text(json.dumps(record()))
    assert read_record(path) == record()


def test_every_measured_number_is_compared():
    assert differences(record(), record()) == []
    for key in MEASURED:
        (line,) = differences(record(), record(**{key: [1, 3]}))
        assert key in line
    assert differences(record(), record(top1=50.1)) == ['top1: 50.0 recorded, 50.1 now']


@pytest.mark.parametrize('classes', [3, 60])
def test_the_picture_is_drawn_for_few_and_for_many_classes(tmp_path, classes):
    names = [f'class {k}' for k in range(classes)]
    draw_confusion(torch.eye(classes).long().tolist(), tmp_path / 'c.png', names)
    assert (tmp_path / 'c.png').read_bytes()[:4] == b'\x89PNG'


def test_versions_name_what_computes():
    assert versions()['torch'].startswith(torch.__version__.partition('+')[0])
    assert {'mmaction2', 'mmengine', 'numpy', 'python', 'nextvid_mm'} <= set(versions())
