"""Table, JSON, rows for a card and picture."""

import json

import pytest

from nextvid_mm.compare.table import make_table, summarise, write_results


def _record(encoder='ours', protocol='knn', labels=100.0, seed=0, top1=50.0, identity='a'):
    return dict(
        encoder=encoder, data='demo', protocol=protocol, labels=labels, seed=seed, top1=top1,
        seconds=1.0, budget=dict(labels=labels), identity=identity,
    )  # fmt: skip


def test_the_interval_is_students():
    values = enumerate((40.0, 50.0, 60.0))
    records = [_record(protocol='attentive', seed=seed, top1=value) for seed, value in values]
    _, _, entries = summarise(records)
    entry = entries['ours', ('demo', 'attentive', 100.0)]
    # 10 / sqrt(3) times 4.3027, Student's t of 2 degrees of freedom at 97.5 %.
    assert entry.mean == 50.0
    assert entry.margin == pytest.approx(24.84, abs=0.01)
    assert str(entry) == '50.0 ± 24.8'


def test_no_interval_where_nothing_is_drawn():
    records = [_record(seed=seed) for seed in range(3)]
    assert str(summarise(records)[2]['ours', ('demo', 'knn', 100.0)]) == '50.0'


@pytest.mark.parametrize(
    'settings',
    [
        lambda seed: dict(protocol='attentive'),
        lambda seed: dict(labels=10.0),
        lambda seed: dict(identity=f'new weights {seed}'),
    ],
)
def test_seeds_that_agree_have_an_interval_of_nothing(settings):
    records = [_record(seed=seed, **settings(seed)) for seed in range(3)]
    assert [str(entry) for entry in summarise(records)[2].values()] == ['50.0 ± 0.0']


def test_features_that_are_not_finite_spoil_their_own_cell_only(tmp_path):
    lost = [_record('lost', 'attentive', seed=seed, top1=float('nan')) for seed in range(2)]
    paths = write_results([_record(), *lost], tmp_path)
    assert '| lost |  | nan ± nan |' in paths['md'].read_text()


def test_columns_stand_in_the_order_of_protocols_and_shares():
    records = [_record(protocol='linear'), _record(labels=10.0), _record('theirs', labels=1.0)]
    rows, columns, _ = summarise(records)
    assert rows == ['ours', 'theirs']
    assert [column[1:] for column in columns] == [('knn', 1.0), ('knn', 10.0), ('linear', 100.0)]
    table = make_table(records)
    assert (len(table.columns), table.row_count) == (4, 2)


def test_nothing_to_lay_out():
    with pytest.raises(ValueError, match='no cell is done'):
        make_table([])


def test_what_is_written(tmp_path):
    paths = write_results([_record(), _record('theirs', labels=10.0, top1=25.0)], tmp_path)
    found = json.loads(paths['json'].read_text())
    assert [entry['mean'] for entry in found['entries']] == [50.0, 25.0]
    assert found['budgets'] == {'demo knn 100': {'labels': 100.0}, 'demo knn 10': {'labels': 10.0}}
    lines = paths['md'].read_text().splitlines()
    assert lines[0] == '| encoder | demo, k-NN, 10 % | demo, k-NN, 100 % |'
    assert lines[2:] == ['| ours |  | 50.0 |', '| theirs | 25.0 |  |']
    assert paths['png'].stat().st_size > 1000
