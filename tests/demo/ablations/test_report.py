import pytest
from rich.console import Console

from nextvid_mm.demo.ablations import RunResult, draw_plot, make_table, select_rows, summarise

ROWS = select_rows('compare', ['table2_full', 'table11_ema-none', 'untrained'])
SCORES = {'table2_full': (60.0, 64.0), 'table11_ema-none': (50.0, 50.0), 'untrained': (30.0, 36.0)}


def results(seeds=2):
    return [
        RunResult(name, seed, scores[seed], 0.0, 100, 3200, 10.0 + seed)
        for name, scores in SCORES.items()
        for seed in range(seeds)
    ]


def test_means_and_sample_deviations_over_seeds():
    summary = summarise(results())['table2_full']
    assert (summary.mean, summary.std, summary.seconds) == (62.0, pytest.approx(8**0.5), 10.5)
    assert str(summary) == '62.0 ± 2.8'
    assert str(summarise(results(1))['untrained']) == '30.0'


def test_the_table_shows_ours_the_gap_and_the_paper():
    console = Console(width=140, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(make_table('compare', ROWS, summarise(results()), 12))
    lines = console.export_text().splitlines()
    (ema,) = (line for line in lines if 'no EMA' in line)
    for cell in ('50.0 ± 0.0', '-12.0', '100', '<10'):
        assert cell in ema
    assert any('chance 8.3' in line and '2 seed(s)' in line for line in lines)
    assert not any('one of these two rows' in line for line in lines)


def test_a_figure_of_unknown_row_has_its_footnote():
    rows = select_rows('table2', ['table2_alignment-isolation'])
    found = [RunResult(rows[0].name, 0, 50.0, 0.0, 1, 1, 1.0)]
    console = Console(width=160, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(make_table('table2', rows, summarise(found), 12))
    assert 'one of these two rows' in console.export_text()


def test_the_plot_is_written(tmp_path):
    path = draw_plot('compare', ROWS, summarise(results()), 12, tmp_path / 'plot.png')
    assert path.read_bytes()[:4] == b'\x89PNG'
