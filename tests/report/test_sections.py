import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.evaluation.generation import GenerationMetrics
from nextvid_mm.inferencers.cost import RolloutCost, StreamingCost
from nextvid_mm.report.learned import FeatureInsight
from nextvid_mm.report.run import load_run
from nextvid_mm.report.sections import (
    DATASETS,
    PUBLISHED,
    curves_section,
    demo_spec,
    features_section,
    generation_section,
    masks_section,
    published_section,
    results_section,
    setting_section,
    streaming_section,
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
    torch.save(dict(state_dict={}, meta=meta), work_dir / 'iter_4.pth')
    section = setting_section(load_run(work_dir))
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


METRICS = GenerationMetrics(
    clips=3,
    samples=2,
    psnr_generated=12.0,
    psnr_mean_of_samples=13.5,
    psnr_copy=13.0,
    psnr_target=20.0,
    diversity=0.1,
    moving_share=0.2,
    by_label={},
)
SHEET = Image.new('RGB', (32, 32))


@pytest.mark.parametrize(('generated', 'word'), [(12.0, 'do NOT beat'), (14.0, ' beat ')])
def test_the_verdict_on_generated_frames_is_honest(generated, word):
    metrics = dataclasses.replace(METRICS, psnr_generated=generated)
    text = generation_section((metrics, SHEET)).text[0]
    assert word in text
    assert f'{generated - 13.0:+.2f} dB' in text


def test_metrics_by_motion():
    metrics = dataclasses.replace(METRICS, by_label={1: METRICS})
    by_motion = generation_section((metrics, SHEET), ['left', 'right']).tables[1]
    assert by_motion.rows == [['right', '12.00', '13.00', '-1.00']]


def test_generation_shows_its_sheet_that_of_the_run_and_the_roll_out(tmp_path):
    path = tmp_path / 'generated.png'
    SHEET.save(path)
    cost = RolloutCost(8, 16, 20, 1.0, 4.0, 0.5, 3.0, 0.0)
    insight = (METRICS, SHEET)
    section = generation_section(insight, [], cost, path)
    assert len(section.pictures) == 2
    assert '3.00 s (6.0 times)' in section.text[1]
    assert len(generation_section(insight, [], None, tmp_path / 'absent.png').pictures) == 1


def test_what_could_not_be_done_says_why():
    assert generation_section('no decoder').text == ['no decoder']
    assert streaming_section('too large').text == ['too large']


def test_a_map_per_encoder_and_the_attention():
    maps = [(name, np.zeros((4, 2))) for name in ('pretrained', 'untrained')]
    insight = FeatureInsight(maps, [0, 1, 0, 1], ['a', 'b'], SHEET, 50.0, Path('run/probe.pth'))
    section = features_section(insight)
    assert [p.drawing for p in section.pictures] == [True, True, False]
    assert '50.0 % top-1, run/probe.pth' in section.text[1]


def test_without_a_trained_probe_the_section_says_how_to_train_one():
    maps = [('pretrained', np.zeros((2, 2)))]
    section = features_section(FeatureInsight(maps, [0, 1], ['a', 'b']))
    assert [p.drawing for p in section.pictures] == [True]
    assert 'No trained probe of this checkpoint was found: python tools/test.py' in section.text[1]


def test_streaming_shows_both_costs_and_the_ratio():
    cost = StreamingCost(2, [1.0] * 4 + [2.0] * 2, [3, 6], [4.0, 8.0], 2**20)
    section = streaming_section(cost)
    assert '2.00' in section.text[0]
    assert '1.0 MiB' in section.text[0]
    assert len(section.pictures) == 1


def test_every_encoder_has_an_entry_for_every_data_set():
    assert all(len(values) == len(DATASETS) for values in PUBLISHED.values())
    best = {name: PUBLISHED[name][DATASETS.index('SSv2')] for name in ('NExT-Vid-G', 'V-JEPA2-G')}
    assert best == {'NExT-Vid-G': 69.5, 'V-JEPA2-G': 75.3}
