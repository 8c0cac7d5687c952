import pytest

from nextvid_mm.demo.ablations import TABLES, select_rows


def test_rows_are_told_apart_by_name_and_agree_between_tables():
    seen = {}
    for rows in TABLES.values():
        assert len({row.name for row in rows}) == len({row.title for row in rows}) == len(rows)
        for row in rows:
            config, paper = seen.setdefault(row.name, (row.config, row.paper))
            assert (row.config, row.paper) == (config, paper)


def test_what_is_compared_is_complete():
    names = [row.name for row in select_rows('compare')]
    assert names == [
        'table2_full',
        'extra_no-masking',
        'small-grid',
        'table11_ema-none',
        'table2_generation-isolation',
        'extra_regression',
        'videomae',
        'vjepa',
        'next-frame',
        'untrained',
    ]


def test_some_rows_in_the_order_of_the_table():
    rows = select_rows('compare', ['untrained', 'table2_full'])
    assert [row.name for row in rows] == ['table2_full', 'untrained']


def test_unknown_tables_and_rows_are_refused():
    with pytest.raises(
        ValueError, match="table 'table9' is unknown; choose one of compare, table2"
    ):
        select_rows('table9')
    with pytest.raises(
        ValueError, match=r"table4 has no rows \['x'\]; it has table2_generation-isolation"
    ):
        select_rows('table4', ['x'])


def test_every_method_is_searched_with_the_same_number_of_settings():
    families = {}
    for row in select_rows('search'):
        families.setdefault(row.config, []).append((row.rate, row.options))
    assert len(families) == 4
    for settings in families.values():
        assert len(settings) == len({str(setting) for setting in settings}) == 6


def test_scaling_has_four_widths_on_four_lengths():
    rows = select_rows('scaling')
    assert (
        len({(dict(row.options)['model.backbone.arch.embed_dims'], row.steps) for row in rows})
        == 16
    )
