"""The table is filled cell by cell; what cannot be compared is refused before it is encoded."""

import json

import pytest
import torch
from probe_run import NUM_TRAIN, probe_run, save_encoder

from nextvid_mm.compare import Evaluation, Row, make_table
from nextvid_mm.compare import run as run_module
from nextvid_mm.compare.run import choose_weights

LABELS = 50  # percent: 2 of 4 in each class


def _evaluation(videos, tmp_path, rows=None, changes=None, **settings):
    config = probe_run(videos / 'data', tmp_path, **(changes or {}))
    rows = rows or [Row('ours', str(videos / 'encoder.pth'), 'reference')]
    settings = dict(say=lambda line: None, device='cpu', cache=videos / 'features') | settings
    return Evaluation(rows, dict(toy=config), tmp_path / 'table', **settings)


def test_a_table_of_two_rows(videos, tmp_path):
    path = str(videos / 'encoder.pth')
    rows = [Row('ours', path, 'reference'), Row('untrained', path, 'untrained')]
    said = []
    settings = dict(shares=[LABELS, 100], seeds=[0, 1], say=said.append)
    records = _evaluation(videos, tmp_path, rows, **settings).run()
    assert len(records) == len(said) == 2 * 3 * 2 * 2
    assert {r['samples'] for r in records if r['labels'] == LABELS} == {NUM_TRAIN // 2}
    identities = {(r['encoder'], r['identity']) for r in records}
    assert len(identities) == 3, 'ours once, the untrained one with every seed'
    assert make_table(records).row_count == 2


def test_what_is_done_is_not_done_again(videos, tmp_path):
    settings = dict(protocols=['knn', 'linear'], seeds=[0])
    first = _evaluation(videos, tmp_path, **settings).run()
    (tmp_path / 'table/cells/ours/toy/linear_100_0.json').unlink()  # a killed cell
    said = []
    again = _evaluation(videos, tmp_path, say=said.append, **settings).run()
    assert [line.split(':')[0] for line in said] == ['ours, toy, linear, 100 % of labels, seed 0']
    assert [r['top1'] for r in again] == [r['top1'] for r in first]


def test_a_killed_cell_goes_on(videos, tmp_path, monkeypatch):
    settings = dict(seeds=[0, 1], cache=tmp_path / 'features')
    whole = _evaluation(videos, tmp_path / 'whole', **settings).run()
    fit = run_module.FrozenFeatures.fit

    def killed(self, rows, seed, member=None):
        if seed:
            raise KeyboardInterrupt
        return fit(self, rows, seed, member)

    with monkeypatch.context() as patch:
        patch.setattr(run_module.FrozenFeatures, 'fit', killed)
        with pytest.raises(KeyboardInterrupt):
            _evaluation(videos, tmp_path, **settings).run()
    folder = tmp_path / 'table/cells/ours/toy'
    assert not (folder / 'attentive_100_1.json').exists()
    (folder / 'attentive_100_1.json.0a1b2c3d.tmp').write_text('{"half')  # of a kill while writing
    (folder / 'linear_100_0.json').write_text('{"half')  # of a power cut
    (note,) = sorted((tmp_path / 'features').glob('*/features.json'))[:1]
    note.unlink()  # half of the samples are encoded
    said = []
    again = _evaluation(videos, tmp_path, say=said.append, **settings).run()
    assert [line.split(':')[0] for line in said] == [
        'ours, toy, linear, 100 % of labels, seed 0',
        'ours, toy, attentive, 100 % of labels, seed 1',
    ]
    assert [r['top1'] for r in again] == [r['top1'] for r in whole]


def test_the_grid_of_the_first_seed_alone(videos, tmp_path):
    path = str(videos / 'encoder.pth')
    rows = [Row('ours', path, 'reference'), Row('untrained', path, 'untrained')]
    settings = dict(protocols=['attentive'], seeds=[1, 0])
    grid = _evaluation(videos, tmp_path / 'grid', rows, **settings).run()
    records = _evaluation(videos, tmp_path, rows, grid_once=True, **settings).run()
    found, whole = ({(r['encoder'], r['seed']): r for r in part} for part in (records, grid))
    for row in ('ours', 'untrained'):
        assert found[row, 1]['top1'] == whole[row, 1]['top1'], 'the first seed trains the grid'
        assert found[row, 0]['best'] == found[row, 1]['best']
    with pytest.raises(ValueError, match='another budget: settings differ'):
        _evaluation(videos, tmp_path, rows, **settings).run()


def test_other_encoders_add_rows(videos, tmp_path):
    settings = dict(protocols=['knn'], seeds=[0])
    _evaluation(videos, tmp_path, **settings).run()
    other = save_encoder(tmp_path / 'other.pth')
    records = _evaluation(videos, tmp_path, [Row('new', other, 'encoder')], **settings).run()
    assert [record['encoder'] for record in records] == ['new', 'ours']


def test_another_budget_is_refused(videos, tmp_path):
    settings = dict(protocols=['attentive'], seeds=[0])
    _evaluation(videos, tmp_path, **settings).run()
    for changes in ({'train_cfg.max_epochs': 4}, {'train_cfg.rates_ahead': 1}):
        with pytest.raises(ValueError, match='another budget: settings differ'):
            _evaluation(videos, tmp_path, changes=changes, **settings).run()


def test_an_encoder_of_another_size_is_refused_before_anything_is_encoded(videos, tmp_path):
    path = save_encoder(
        tmp_path / 'large.pth',
        backbone=dict(
            type='CausalViT',
            arch=dict(embed_dims=24, depth=2, num_heads=2, mlp_ratio=2.0),
            img_size=32,
            patch_size=4,
        ),
    )
    rows = [Row('ours', str(videos / 'encoder.pth'), 'reference'), Row('large', path, 'reference')]
    with pytest.raises(
        ValueError, match='large is made for 32 x 32 px, but the clips of toy are 16'
    ):
        _evaluation(videos, tmp_path, rows)
    settings = dict(protocols=['knn'], seeds=[0], interpolate=True)
    assert len(_evaluation(videos, tmp_path, rows, **settings).run()) == 2


@pytest.mark.parametrize(
    ('lines', 'settings', 'message'),
    [
        (lambda n: f'{n}.mp4 1', {}, 'has 1 class'),
        (lambda n: f'{n}.mp4 {n % 3}', dict(shares=[5]), '--labels 5: class 0'),
        (lambda n: f'{n}.mp4 {n % 4}', {}, 'label 3 is none of the classes 0 to 2'),
    ],
)
def test_labels_that_cannot_be_evaluated(videos, tmp_path, lines, settings, message):
    path = tmp_path / 'list.txt'
    path.write_text('\n'.join(map(lines, range(NUM_TRAIN))))
    changes = {'train_dataloader.dataset.dataset.ann_file': str(path)}
    with pytest.raises(ValueError, match=message):
        _evaluation(videos, tmp_path, changes=changes, **settings)


def test_two_rows_of_one_name(videos, tmp_path):
    row = Row('ours', str(videos / 'encoder.pth'), 'reference')
    with pytest.raises(ValueError, match="two encoders are called 'ours'"):
        _evaluation(videos, tmp_path, [row, row])


def test_fine_tuning_needs_a_config_and_a_checkpoint(videos, tmp_path):
    with pytest.raises(ValueError, match=r"no fine-tuning config for \['toy'\]"):
        _evaluation(videos, tmp_path, protocols=['finetuned'])


def test_fine_tuning_gets_the_chosen_labels(videos, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(run_module, 'finetune', lambda *a: calls.append(a) or 25.0)
    config = probe_run(videos / 'data', tmp_path)
    config.model.backbone = dict(init_cfg=dict(checkpoint=None))
    path = str(videos / 'encoder.pth')
    rows = [Row('ours', path, 'reference'), Row('untrained', path, 'untrained')]
    settings = dict(protocols=['finetuned'], shares=[LABELS], seeds=[0])
    records = _evaluation(videos, tmp_path, rows, finetuning=dict(toy=config), **settings).run()
    assert [record['top1'] for record in records] == [25.0, 25.0]
    assert [call[1] for call in calls] == [path, None]
    assert all(len(call[2]) == NUM_TRAIN // 2 for call in calls)


def test_the_reference_is_chosen_where_there_is_one(videos, tmp_path):
    assert choose_weights(str(videos / 'encoder.pth')) == 'reference'
    torch.save(dict(state_dict={'a': torch.zeros(1)}), tmp_path / 'none.pth')
    with pytest.raises(ValueError, match=r'none\.pth holds no encoder that is described'):
        choose_weights(str(tmp_path / 'none.pth'))


def test_records_are_plain(videos, tmp_path):
    record = _evaluation(videos, tmp_path, protocols=['knn'], seeds=[0]).run()[0]
    assert json.loads(json.dumps(record)) == record
    assert record['budget']['size'] == [16, 16]
