import dataclasses

import numpy as np
import pytest
from PIL import Image

from nextvid_mm.evaluation.generation import GenerationMetrics
from nextvid_mm.inferencers.cost import RolloutCost, StreamingCost
from nextvid_mm.report.learned import FeatureInsight, GenerationInsight
from nextvid_mm.report.learned_sections import (
    features_section,
    generation_section,
    label_table,
    streaming_section,
    verdict,
)

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
    text = verdict(dataclasses.replace(METRICS, psnr_generated=generated))
    assert word in text
    assert f'{generated - 13.0:+.2f} dB' in text


def test_metrics_by_motion():
    metrics = dataclasses.replace(METRICS, by_label={1: METRICS})
    assert label_table(metrics, ['left', 'right']).rows == [['right', '12.00', '13.00', '-1.00']]


def test_generation_shows_its_sheet_that_of_the_run_and_the_roll_out(tmp_path):
    path = tmp_path / 'generated.png'
    SHEET.save(path)
    cost = RolloutCost(8, 16, 20, 1.0, 4.0, 0.5, 3.0, 0.0)
    insight = GenerationInsight(METRICS, SHEET, [])
    section = generation_section(insight, cost, path)
    assert len(section.pictures) == 2
    assert '3.00 s (6.0 times)' in section.text[1]
    assert len(generation_section(insight, None, tmp_path / 'absent.png').pictures) == 1


def test_what_could_not_be_done_says_why():
    assert generation_section('no decoder').text == ['no decoder']
    assert streaming_section('too large').text == ['too large']


def test_a_map_per_encoder_and_the_attention():
    maps = [(name, np.zeros((4, 2))) for name in ('pretrained', 'untrained')]
    section = features_section(FeatureInsight(maps, [0, 1, 0, 1], ['a', 'b'], SHEET, 50.0, 120))
    assert [p.drawing for p in section.pictures] == [True, True, False]
    assert '50.0 % top-1 on its own, trained on 120 videos' in section.text[0]


def test_streaming_shows_both_costs_and_the_ratio():
    cost = StreamingCost(2, [1, 2, 3, 4, 5, 6], [1.0] * 4 + [2.0] * 2, [3, 6], [4.0, 8.0], 2**20)
    section = streaming_section(cost)
    assert '2.00' in section.text[0]
    assert '1.0 MiB' in section.text[0]
    assert len(section.pictures) == 1
