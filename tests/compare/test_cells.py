"""Cells: resumed, never mixed; labels are drawn class by class."""

import numpy as np
import pytest

from nextvid_mm.compare.cells import Cell, CellFolder, choose_labelled

LABELS = [0] * 20 + [1] * 10
CELL = Cell('ours', 'demo', 'knn', 10.0, 3)
BUDGET = dict(size=[16, 16], labels=10.0)


def test_every_class_gets_its_share():
    rows = choose_labelled(LABELS, 10, seed=0)
    assert np.bincount(np.array(LABELS)[rows]).tolist() == [2, 1]
    assert choose_labelled(LABELS, 100, seed=0) == list(range(30))


def test_fewer_labels_are_some_of_more_and_follow_from_the_seed():
    few, more = (set(choose_labelled(LABELS, share, seed=1)) for share in (10, 50))
    assert few < more
    assert few != set(choose_labelled(LABELS, 10, seed=2))


@pytest.mark.parametrize(
    ('labels', 'share', 'message'),
    [
        (LABELS, 1, r'--labels 1: class 0 of list\.txt has 20 samples.*above 5 %'),
        ([2] * 9, 100, r'list\.txt has 1 class: there is nothing to tell apart'),
        (LABELS, 0, '--labels 0 is no share'),
        (LABELS, 101, '--labels 101 is no share'),
    ],
)
def test_labels_that_make_no_sense(labels, share, message):
    with pytest.raises(ValueError, match=message):
        choose_labelled(labels, share, 0, 'list.txt')


@pytest.mark.parametrize('count', [4, 7, 35])
def test_the_share_that_is_named_is_enough(count):
    labels = [0] * count + [1] * 100
    with pytest.raises(ValueError, match='is none') as error:
        choose_labelled(labels, 0.6, 0)
    named = float(str(error.value).split('is above ')[1].split()[0])
    assert choose_labelled(labels, 1.0001 * named, 0)


def test_a_cell_comes_back(tmp_path):
    folder = CellFolder(tmp_path)
    assert folder.read(CELL, 'hash', BUDGET) is None
    folder.write(CELL, 'hash', BUDGET, top1=50.0, seconds=1.0)
    assert folder.read(CELL, 'hash', BUDGET)['top1'] == 50.0
    assert [record['seed'] for record in folder.all()] == [3]


def test_another_encoder_of_the_same_name_is_refused(tmp_path):
    folder = CellFolder(tmp_path)
    folder.write(CELL, 'hash', BUDGET, top1=50.0)
    with pytest.raises(ValueError, match="another encoder that was called 'ours'"):
        folder.read(CELL, 'other', BUDGET)


def test_cells_of_other_budgets_are_not_put_side_by_side(tmp_path):
    folder = CellFolder(tmp_path)
    folder.write(CELL, 'hash', BUDGET, top1=50.0)
    with pytest.raises(ValueError, match=r'another budget: size differ.*\[16, 16\].*\[32, 32\]'):
        folder.read(CELL, 'hash', BUDGET | dict(size=[32, 32]))
    other = Cell('theirs', 'demo', 'knn', 10.0, 3)
    folder.write(other, 'else', BUDGET | dict(size=[32, 32]), top1=60.0)
    with pytest.raises(ValueError, match='another budget'):
        folder.all()


def test_a_damaged_cell_is_named(tmp_path):
    folder = CellFolder(tmp_path)
    folder.write(CELL, 'hash', BUDGET, top1=50.0)
    folder.path(CELL).write_text('{"top1": 5')
    assert folder.read(CELL, 'hash', BUDGET) is None
    with pytest.raises(ValueError, match=r'knn_10_3\.json is damaged: delete it'):
        folder.all()
