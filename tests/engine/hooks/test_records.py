"""FaultHook and TraceHook: what a run leaves in files."""

import json

import torch
from mmengine.hooks import Hook
from toy_training import STAGES, train

from nextvid_mm.engine.hooks import FaultHook
from nextvid_mm.engine.hooks.records import TRACE
from nextvid_mm.layers import ClipBatch


def sample(position, replaced=()):
    return dict(position=position, path=f'{position}.mp4', source='toy', replaced=replaced)


class Samples(Hook):
    """Attaches metainfo to the batches of the toy data."""

    priority = 'VERY_HIGH'

    def __init__(self, replaced):
        self.replaced = replaced
        self.next = 0

    def after_micro_batch(self, runner, batch_idx, data_batch=None, outputs=None):
        samples = []
        for _ in data_batch['inputs']:
            samples.append(sample(self.next, self.replaced.get(self.next, ())))
            self.next += 1
        data_batch['data_samples'] = ClipBatch.of(samples)


def test_replaced_samples_are_listed_once_each(tmp_path):
    replaced = {
        3: [('bad/b.mp4', 'cannot decode'), ('bad/\udcff.mp4', 'no frames')],
        70: [('bad/b.mp4', 'cannot decode')],
    }
    runner = train(tmp_path, Samples(replaced), FaultHook())
    assert (tmp_path / 'replaced_samples.txt').read_text() == (
        '"bad/\\udcff.mp4"\tno frames\nbad/b.mp4\tcannot decode\n'
    )
    log = next(tmp_path.rglob('*.log')).read_text()
    assert 'replaced an unreadable sample: "bad/\\udcff.mp4": no frames' in log
    assert '2 files could not be read' in log
    assert runner.message_hub.get_scalar('train/replaced_samples').current() == 3


def test_the_list_of_a_continued_run_is_continued(tmp_path):
    class Stop(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.train_loop.stop_training = runner.iter == 5

    save = {'default_hooks.checkpoint.interval': 6}
    train(tmp_path, Samples({0: [('first.mp4', 'x')]}), FaultHook(), Stop(), **save)
    train(tmp_path, Samples({0: [('second.mp4', 'y')]}), FaultHook(), resume=True, **save)
    assert (tmp_path / 'replaced_samples.txt').read_text() == 'first.mp4\tx\nsecond.mp4\ty\n'
    train(tmp_path, Samples({0: [('third.mp4', 'z')]}), FaultHook())  # a new run here
    assert (tmp_path / 'replaced_samples.txt').read_text() == 'third.mp4\tz\n'


def test_a_run_without_faults_leaves_no_files(tmp_path):
    for left in (
        'replaced_samples.txt',
        'replaced_samples.rank3.txt',
        'nonfinite_steps.rank3.jsonl',
    ):
        (tmp_path / left).write_text('of an earlier run on four processes\n')
    train(tmp_path, FaultHook(), stages=STAGES[:1])
    assert not list(tmp_path.glob('*samples*'))
    assert not list(tmp_path.glob('nonfinite*'))


def test_skipped_steps_are_recorded_with_their_clips(tmp_path):
    class Poison(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if batch_idx == 2:
                data_batch['inputs'][0].fill_(torch.nan)

    stages = [STAGES[0] | dict(micro_batch_size=4)]
    train(tmp_path, Samples({}), Poison(), FaultHook(), stages=stages)
    (line,) = (tmp_path / 'nonfinite_steps.rank0.jsonl').read_text().splitlines()
    record = json.loads(line)
    assert record['step'] == 3
    assert [clip['position'] for clip in record['clips']] == list(range(16, 24))
    assert record['outputs']['loss'] != record['outputs']['loss']


def test_other_batches_are_left_alone():
    hook = FaultHook()
    hook.after_micro_batch(None, 0, data_batch=dict(inputs=[1]))
    assert hook.count == 0


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
