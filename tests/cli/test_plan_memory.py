from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / 'configs/nextvid/vit-tiny_demo.py'


def test_flags(parse):
    args = parse('plan_memory', 'config.py', '--world-size', 2, 4, '--cfg-options', 'a.b=1')
    assert (args.world_size, args.shard_size, args.cfg_options) == ([2, 4], None, {'a.b': 1})
    assert args.gpu is None
    assert parse('plan_memory', 'config.py', '--gpu', 80).gpu == 80.0


def test_a_config_without_stages_is_one_line(call, tmp_path):
    path = tmp_path / 'none.py'
    path.write_text('model = dict()\n')
    assert call('plan_memory', path).startswith(f'plan_memory: error: {path} has no stage table')


@pytest.mark.parametrize('size', [0, -1, 3])
def test_shards_that_do_not_divide_are_one_line(call, size):
    assert call('plan_memory', DEMO, '--world-size', 4, '--shard-size', size) == (
        f'plan_memory: error: --shard-size {size} does not divide 4 GPUs'
    )


def test_shards_of_a_config_that_has_none_are_one_line(call):
    code = call('plan_memory', DEMO, '--world-size', 4, '--shard-size', 2, '--gpu', 80)
    assert code.startswith('plan_memory: error: --shard-size: ')
    assert code.endswith('keeps a copy on each GPU (no ShardedRunner)')


def test_no_memory_is_one_line(call):
    assert call('plan_memory', DEMO, '--gpu', 0) == (
        'plan_memory: error: --gpu 0 must be more than 0: GB of memory, such as 80'
    )
