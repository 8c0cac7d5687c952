import re

import pytest
import torch
from clips import write_clip
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from nextvid_mm.cli.propose_config import _command
from nextvid_mm.plan import proposal, proposed_schedule, step_time


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """Eight videos of 24 frames with two labels, and settings that make steps cheap."""
    monkeypatch.setattr(step_time, '_WARM_UP', 1)
    monkeypatch.setattr(step_time, '_TIMED', 1)
    monkeypatch.setattr(proposal, '_MOST_ON_CPU', 2)
    monkeypatch.setattr(proposed_schedule, 'BATCHES', (2,))
    monkeypatch.setattr('nextvid_mm.plan.survey.FEWEST_CLIPS', 8)
    folder = tmp_path / 'mine'
    folder.mkdir()
    for number in range(8):
        write_clip(folder / f'{number}.mp4')
    (tmp_path / 'labels.txt').write_text(''.join(f'{n}.mp4 {n % 2}\n' for n in range(8)))
    (tmp_path / 'label_map.txt').write_text('even\nodd\n')
    return folder


class StopAt20(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        runner.train_loop.stop_training = runner.iter + 1 == 20


@pytest.mark.slow
def test_what_is_proposed_starts_as_it_stands(videos, tmp_path, call, capsys):
    words = 'mine', '--labels', 'labels.txt', '--cpu', '--hours', '1', '--out', 'configs/mine'
    assert call('propose_config', *words) == 0
    said = capsys.readouterr().out
    assert re.search(r'the first 20 steps take \d+ s \(timed\)', said)
    assert 'python tools/train.py configs/mine/finetune.py' in said
    folder = tmp_path / 'configs/mine'
    names = {'pretrain.py', 'probe.py', 'finetune.py', 'train.txt', 'val.txt', 'label_map.txt'}
    assert {path.name for path in folder.iterdir()} == names
    assert (folder / 'label_map.txt').read_text() == 'even\nodd\n'
    cfg = Config.fromfile(folder / 'pretrain.py')
    cfg.visualizer.vis_backends = []
    runner = Runner.from_cfg(cfg)
    runner.register_hook(StopAt20())
    runner.train()
    assert runner.iter == 20
    assert torch.isfinite(torch.tensor(runner.message_hub.get_scalar('train/loss').current()))
    with (folder / 'pretrain.py').open('a') as file:
        file.write('# mine\n')
    assert call('propose_config', *words).startswith(
        'propose_config: error: configs/mine/pretrain.py is there and says something else'
    )


def test_the_head_of_a_config_names_the_command_that_writes_it_again(parse):
    words = 'mine', '--hours', '2', '--gpus', '8', '--gpu-memory', '80', '--out', 'configs/other'
    args = parse('propose_config', *words)
    assert _command(args) == f'tools/propose_config.py {" ".join(words)}'


def test_a_dry_run_writes_nothing(videos, tmp_path, call, monkeypatch, capsys):
    monkeypatch.setattr(proposal, 'clips_at_once', lambda *_: [8] * 4)
    monkeypatch.setattr(proposal, 'decoding_seconds', lambda *_: 0.05)
    words = 'mine', '--gpus', '8', '--gpu-memory', '80', '--size', 'small', '--dry-run'
    assert call('propose_config', *words) == 0
    assert '8 x a100 of 80 GB' in capsys.readouterr().out
    assert not (tmp_path / 'configs').exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['none'], 'none: there is no such folder'),
        (['mine', '--hours', '0'], '--hours 0 must be more than 0'),
        (['mine', '--size', 'medium'], '--size medium is not one of tiny, small'),
        (['mine', '--gpu', 'a100'], '--gpu and --gpu-memory describe GPUs'),
        (['mine', '--gpus', '1', '--gpu-memory', '0'], '--gpu-memory 0 must be more than 0'),
        (['mine', '--gpus', '1', '--gpu', 'x'], '--gpu x is not one of'),
        (['mine', '--labels', 'a', 'b', 'c'], '--labels takes one list or two, found 3'),
        (['mine', '--labels', 'none.txt'], '--labels none.txt: there is no such list'),
        (['mine', '--from', 'none.pth', '--gpus', '1'], 'none.pth'),
    ],
)
def test_wrong_flags_are_one_line(videos, call, words, message):
    code = call('propose_config', *words)
    assert code.startswith('propose_config: error: ')
    assert message in code
    assert '\n' not in code
