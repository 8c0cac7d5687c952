"""What a terminal shows of a run, what only its log file has, and what is formatted once."""

import itertools
import logging
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.config import config as module
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import nn

from nextvid_mm import runner_output

NAMES = itertools.count()
WARNING = '"FileClient" will be deprecated in future.'


class Nothing(nn.Module):
    pass


def test_bulk_and_useless_advice_are_in_the_log_file_only(tmp_path, capsys):
    name = f'output_{next(NAMES)}'
    runner = Runner(Nothing(), str(tmp_path), experiment_name=name, cfg=dict(answer=42))
    runner.logger.warning(WARNING)
    runner.logger.info('loss: 1.0')
    (log,) = tmp_path.glob('*/*.log')
    shown, kept = capsys.readouterr().out, log.read_text()
    for text in ('System environment', 'answer = 42', 'FileClient', 'loss: 1.0'):
        assert text in kept, text
    for text in ('System environment', 'answer = 42', 'FileClient', 'Hooks will be'):
        assert text not in shown, text
    assert 'loss: 1.0' in shown


def test_without_a_log_file_nothing_but_useless_advice_is_held_back(capsys):
    logger = MMLogger(f'output_{next(NAMES)}', log_level='INFO')
    logger.warning(WARNING)
    logger.info('Config:\nanswer = 42')
    shown = capsys.readouterr().out
    assert 'FileClient' not in shown
    assert 'answer = 42' in shown


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_log_file_on_a_full_disk_is_told_once(capsys):
    logger = MMLogger(f'output_{next(NAMES)}', log_file='/dev/full', log_level='INFO')
    for number in range(3):
        logger.info(f'step {number}')
    captured = capsys.readouterr()
    assert captured.err.strip().count('\n') == 0
    assert captured.err.startswith('/dev/full cannot be written: [Errno 28] No space left')
    assert 'step 2' in captured.out


def test_both_are_needed(tmp_path):
    """The filter lets nothing pass that MMEngine still writes, and holds nothing else back."""
    texts = ('\n' + '-' * 60 + '\nSystem environment:', 'Config:\nx = 1', 'a Config: is fine')
    records = [logging.LogRecord('x', 20, 'x', 1, text, (), None) for text in texts]
    shown = runner_output.ForPeople(runner_output.BULK)
    assert [shown.filter(record) for record in records] == [False, False, True]


def test_a_config_is_formatted_once(monkeypatch):
    calls = []
    monkeypatch.setattr(module, 'FormatCode', lambda text, **_: (calls.append(text) or text, True))
    runner_output.format_configs_once()
    configs = [Config(dict(number=number)) for number in range(6)]
    texts = [config.pretty_text for config in configs for _ in range(3)]
    assert len(calls) == len(set(texts)) == 6
    configs[5].number = 7
    assert '7' in configs[5].pretty_text
    assert Config(dict(number=0)).pretty_text == texts[0]
    assert len(calls) == 8  # it keeps a few, not all


def test_what_cannot_be_formatted_is_tried_again(monkeypatch):
    def fail(text, **_):
        raise ValueError(text)

    monkeypatch.setattr(module, 'FormatCode', fail)
    runner_output.format_configs_once()
    for _ in range(2):
        with pytest.raises(SyntaxError):
            _ = Config(dict(a=1)).pretty_text
