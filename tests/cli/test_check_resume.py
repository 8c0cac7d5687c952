import sys
from pathlib import Path

from nextvid_mm.cli.check_resume import training_command

TRAIN = str(Path(__file__).resolve().parents[2] / 'tools/train.py')


def test_the_command_that_trains(parse):
    words = ['check_resume', 'config.py', '--cfg-options', 'a.b=1']
    command = training_command(parse(*words), Path('work'))
    assert command[:4] == [sys.executable, TRAIN, 'config.py', '--work-dir']
    assert command[-1] == 'a.b=1'
    command = training_command(parse(*words, '--processes', 2), Path('work'))
    assert command[:3] == [sys.executable, '-m', 'torch.distributed.run']
    assert command[5:8] == [TRAIN, 'config.py', '--launcher']


def test_a_failed_training_is_one_message(call, tmp_path):
    said = call('check_resume', 'absent.py', '--work-dir', tmp_path / 'work')
    assert said.startswith('check_resume: error: ')
    assert 'absent.py does not exist' in said
