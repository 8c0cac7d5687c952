import json

import pytest

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.report.run import load_run
from nextvid_mm.report.sections import (
    curves_section,
    demo_spec,
    masks_section,
    published_section,
    results_section,
    setting_section,
)

RESULTS = [
    dict(
        seed=seed,
        top1={'pretrained': 70.0 + seed, 'untrained': 40.0, 'pretrained, single frame': 11.0},
        seconds={'pretraining': 600.0 + seed},
    )
    for seed in (0, 2)
]


def rows_of(table):
    return {row[0]: list(row[1:]) for row in table.rows}


def test_results_have_mean_chance_and_gain_beside_the_papers_figures():
    ours, paper, time = results_section(RESULTS, num_classes=10).tables
    rows = rows_of(ours)
    assert rows['pretrained'] == ['70.0', '72.0', '71.0']
    assert rows['chance'] == ['10.0'] * 3
    assert rows['pretrained − untrained'] == ['+30.0', '+32.0', '+31.0']
    assert 'paper' in paper.caption
    assert rows_of(paper)['NExT-Vid-L'] == ['78.5', '76.3', '63.9', '82.7']
    assert rows_of(time)['pretraining'] == ['600', '602', '601']


@pytest.mark.parametrize(('untrained', 'word'), [(40.0, 'is ahead of'), (80.0, 'is NOT ahead of')])
def test_the_verdict_is_honest(untrained, word):
    results = [dict(r, top1=r['top1'] | {'untrained': untrained}) for r in RESULTS]
    text = results_section(results, num_classes=10).text[0]
    assert word in text
    assert f'{71 - untrained:+.1f} points' in text
    assert '11.0 %; chance is 10.0 %' in text


def test_curves(work_dir):
    captions = [picture.caption for picture in curves_section(load_run(work_dir)).pictures]
    assert captions == ['Losses (weighted)', 'Learning rate per group']


def test_masks_say_how_much_is_visible():
    masking = FrameIsolatedMasking(4, [dict(num_blocks=1, scale=0.25, num_visible=12)])
    section = masks_section(masking, (4, 4), draws=2)
    assert 'visible: 12 of 16 patches (75%)' in section.text[0]
    section = masks_section(FrameIsolatedMasking(4, 'none'), (4, 4), draws=2)
    assert 'visible: 16 of 16 patches (100%)' in section.text[0]


def test_settings_count_the_clips_of_every_source(work_dir):
    meta = dict(data=dict(names=['a', 'b'], weights=[3.0, 1.0], lengths=[1200, 2]), iter=4, seed=7)
    section = setting_section(load_run(work_dir), meta)
    mixture, stages, run, _ = section.tables
    assert rows_of(mixture) == {
        'a': ['75.0%', '1,200', '6', '0.0'],
        'b': ['25.0%', '2', '2', '1.0'],
    }
    assert [row[0] for row in stages.rows] == ['warm-up', 'stable', 'total']
    assert rows_of(run) == {'steps done': ['4'], 'seed': ['7']}
    assert 'a <b> config' in section.details[0][1]


def test_generated_videos_are_described(work_dir, tmp_path):
    source = dict(name='v', weight=1.0, dataset=dict(ann_file=str(tmp_path / 'list.txt')))
    run = load_run(work_dir)
    run.config.train_dataloader = dict(dataset=dict(sources=[source]))
    assert demo_spec(run) == {}
    (tmp_path / 'demo_spec.json').write_text(json.dumps(dict(num_train=48)))
    assert demo_spec(run) == dict(num_train=48)


def test_the_papers_figures_are_not_claimed():
    assert 'nothing on this page reproduces them' in published_section().text[0]
