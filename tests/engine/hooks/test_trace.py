import json

from toy_training import train

from nextvid_mm.engine.hooks.trace import TRACE


def test_every_step_is_written_without_losing_a_bit(tmp_path):
    trace = {'default_hooks.trace': dict(type='TraceHook')}
    train(tmp_path, **trace)
    lines = [json.loads(line) for line in (tmp_path / TRACE).read_text().splitlines()]
    assert [line['step'] for line in lines] == list(range(1, 17))
    records = (tmp_path / 'records.jsonl').read_text().splitlines()
    for line, record in zip(lines, map(json.loads, records), strict=True):
        assert line['losses'] == record['outputs']
        assert line['grad_norm'] == record['grad_norm']
    assert set(lines[-1]['lr']) == {'lr', 'flow_lr'}
    train(tmp_path, **trace)
    assert len((tmp_path / TRACE).read_text().splitlines()) == 32
