"""The page of a step holds what the step is made of."""

import re

from nextvid_mm.report.step import look_at_step
from nextvid_mm.report.step_page import sections, write_step_page


def test_the_page_has_every_part(step_config, tmp_path):
    look = look_at_step(step_config, clips=2)
    page = write_step_page(look, tmp_path / 'step.html', 'tiny').read_text(encoding='utf-8')
    titles = re.findall(r'<h2>(.*?)</h2>', page)
    assert titles == [
        'Clips', 'Masks and queries', 'Tokens of each network', 'Attention patterns',
        'Targets of generation', 'Targets of alignment', 'Noise and velocity', 'Losses',
        'Gradients',
    ]  # fmt: skip
    assert page.count('src="data:image/') == 5
    assert 'http' not in page.partition('<body>')[2]


def tables(look, title):
    (section,) = [section for section in sections(look) if section.title == title]
    return [[list(row) for row in table.rows] for table in section.tables]


def test_its_numbers(step_config):
    look = look_at_step(step_config, clips=2)
    ((first, second),) = tables(look, 'Masks and queries')
    assert first[1:4] == ['8', '8', '8']
    assert second[1:4] == ['10', '6', '6']
    (networks,) = tables(look, 'Tokens of each network')
    tokens = {row[0]: row[1:3] for row in networks}
    assert tokens['encoder, strategy 1'] == ['3 x 10', '30']
    assert tokens['predictor (queries), strategy 1'] == ['3 x 6', '18']
    assert tokens['decoder, strategy 1'] == ['3 x 6 x 3 tau samples', '54']
    assert tokens['reference encoder (no gradient)'] == ['4 x 16', '64']
    per_tubelet, total = tables(look, 'Losses')
    assert len(per_tubelet) == 4
    for name, table, training in total:
        assert abs(float(table) - float(training)) < 2e-6, name
    assert total[-1][0] == 'sum'
    _, times = tables(look, 'Noise and velocity')
    assert len(times[0][1].split(', ')) == 9, 'three tubelets, three tau samples'


def test_what_is_not_there_is_left_out(step_config):
    step_config.model.update(head=None, target_generator=None)
    titles = [section.title for section in sections(look_at_step(step_config, clips=1))]
    assert 'Targets of generation' not in titles
    assert 'Noise and velocity' not in titles
    assert 'Targets of alignment' in titles
