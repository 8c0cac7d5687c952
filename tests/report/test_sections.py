import dataclasses

import pytest

from nextvid_mm.evaluation.generation import GenerationMetrics
from nextvid_mm.report.run import load_run
from nextvid_mm.report.sections import (
    curves_section,
    generation_section,
    generation_table,
    published_section,
    results_section,
    setting_section,
)

RESULTS = [dict(seed=seed, top1={'pretrained': 70.0 + seed, 'untrained': 40.0}) for seed in (0, 2)]
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


def test_results_have_mean_chance_and_gain():
    rows = {row[0]: row[1:] for row in results_section(RESULTS, num_classes=10).tables[0].rows}
    assert rows['pretrained'] == ['70.0', '72.0', '71.0']
    assert rows['chance'] == ['10.0'] * 3
    assert rows['pretrained − untrained'] == ['+30.0', '+32.0', '+31.0']


@pytest.mark.parametrize(('generated', 'verdict'), [(12.0, 'do NOT beat'), (14.0, ' beat ')])
def test_the_verdict_on_generated_frames_is_honest(generated, verdict):
    metrics = dataclasses.replace(METRICS, psnr_generated=generated)
    text = generation_section(metrics, None).text[0]
    assert verdict in text
    assert f'{generated - 13.0:+.2f} dB' in text


def test_metrics_by_motion():
    metrics = dataclasses.replace(METRICS, by_label={1: METRICS})
    assert generation_table(metrics, ['left', 'right']).rows == [
        ['right', '12.00', '13.00', '-1.00']
    ]


def test_curves_settings_and_published_figures(work_dir):
    run = load_run(work_dir)
    captions = [picture.caption for picture in curves_section(run).pictures]
    assert captions == ['Losses (weighted)', 'Learning rate per group']
    meta = dict(data=dict(names=['a'], weights=[0.5], lengths=[1200]), iter=4, seed=7, stages=[])
    section = setting_section(run, meta)
    assert section.tables[0].rows == [['a', '0.5', '1,200']]
    assert ['seed', '7'] in section.tables[1].rows
    assert 'a <b> config' in section.details[1][1]
    assert 'nothing on this page reproduces them' in published_section().text[0]


def test_a_model_without_decoder():
    assert generation_section(None, None).text == ['The model has no decoder.']
