from ablation_results import ROWS
from ablation_results import made_up_results as results
from rich.console import Console

from nextvid_mm.demo.ablations import (
    Moment,
    RunResult,
    comparison,
    goals,
    make_tables,
    markdown,
    select_rows,
    write_report,
)

CHANCE = dict(how=8.3, what=9.1)


def text_of(rows, found):
    console = Console(width=250, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(*make_tables('compare', comparison(rows, found), CHANCE))
    return console.export_text()


def test_the_table_shows_both_questions_seeds_and_the_paper():
    lines = text_of(ROWS, results()).splitlines()
    steps, time, neighbours, _ = (line for line in lines if 'full method' in line)
    for cell in ('62.0 ± 2.8', '70.0 ± 0.0', '1000'):
        assert cell in steps
    assert '75.1 / 63.8' in time
    assert '31.0 ± 1.4' in neighbours
    assert any('how 8.3, what 9.1' in line for line in lines)
    assert not any('one of these two rows' in line for line in lines)


def test_goals_are_met_missed_or_not_run():
    lines = [
        [cell.strip() for cell in line.split('|')[1:-1]] for line in goals(results()).splitlines()
    ]
    how, what, masks, _, _, peer, small = lines[2:]
    assert how[1:] == ['2', '+29.0 ± 12.7: met', '+14.5 ± 6.4: **missed**']
    assert what[1:] == ['2', '+0.0 ± 0.0: **missed**', '+0.0 ± 0.0: **missed**']
    assert masks[1:] == small[1:] == ['0', 'not run', 'not run']
    # After 200 seconds, on the mean of both questions.
    assert peer[1:] == ['2', '-13.8 ± 15.9: **missed**', '-6.9 ± 7.9: **missed**']


def test_a_figure_of_unknown_row_has_its_footnote():
    rows = select_rows('table2', ['table2_alignment-isolation'])
    level = dict(how=50.0, what=50.0)
    moment = Moment(1, 1, 1.0, 1.0, {}, level, level, 9.0, 1.0)
    found = [RunResult(rows[0].name, {}, 0, {}, [moment], {})]
    assert 'one of these two rows' in text_of(rows, found)


def test_the_page_s_table_and_the_plot_are_written(tmp_path):
    found = comparison(ROWS, results())
    plot, page = write_report('compare', found, CHANCE, tmp_path)
    assert plot.read_bytes()[:4] == b'\x89PNG'
    lines = page.read_text().splitlines()
    assert page.read_text() == markdown(found)
    table = [line for line in lines if '|' in line]
    assert len(table) == 2 * (2 + len(ROWS))
    assert len({line.count('|') - line.count('\\|') for line in table}) == 1
    assert [line for line in lines if line and line not in table] == [
        'By the attentive probe:', 'By the nearest neighbours of mean tokens:',
    ]  # fmt: skip
