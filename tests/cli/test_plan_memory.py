from pathlib import Path

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


def test_no_memory_is_one_line(call):
    assert call('plan_memory', DEMO, '--gpu', 0) == (
        'plan_memory: error: --gpu 0 must be more than 0: GB of memory, such as 80'
    )
