import pytest
import torch

from nextvid_mm.models.checkpoints import bare, find_weights, under

A, B = dict(w=torch.tensor(1.0)), dict(w=torch.tensor(2.0))


@pytest.mark.parametrize('key', ['state_dict_ema', 'model_ema', 'ema', 'teacher'])
def test_averaged_weights_come_first_and_the_choice_is_said(key):
    content = dict(state_dict=A, epoch=3) | {key: B}
    found = find_weights(content, 'file')
    assert (float(found.state['w']), found.key) == (2, key)
    assert found.note == f'{key} (averaged weights); the file also holds state_dict'
    other = find_weights(content, 'file', 'state_dict')
    assert float(other.state['w']) == 1
    assert other.note == f'state_dict (trained weights); the file also holds {key}'


@pytest.mark.parametrize(
    'content',
    [
        A,
        dict(model=A, args=1),
        dict(module=A),
        dict(ema=dict(model=A)),
        dict(model=dict(state_dict=A)),
    ],
)
def test_one_state_dict_needs_no_word(content):
    found = find_weights(content, 'file')
    assert float(found.state['w']) == 1
    assert found.note == ''


@pytest.mark.parametrize(
    'name',
    ['module.a.w', '_orig_mod.a.w', 'module._orig_mod.a.w', 'a._orig_mod.w', '_orig_mod.module.a.w',
     '_forward_module.a.w', 'a._checkpoint_wrapped_module.w', 'module.module.a.w'],
)  # fmt: skip
def test_prefixes_of_wrappers_go(name):
    assert list(bare({name: A['w'], 'n_averaged': A['w'], 'epoch': 1}, 'file')) == ['a.w']


def test_what_is_no_state_dict():
    with pytest.raises(ValueError, match=r"under 'ema'; there are: model"):
        find_weights(dict(model=A), 'file', 'ema')
    with pytest.raises(ValueError, match='file: there are no tensors by name; it holds epoch'):
        find_weights(dict(epoch=1), 'file')
    with pytest.raises(ValueError, match='zero_to_fp32.py'):
        find_weights(dict(module=dict(w=torch.zeros(0))), 'file')
    with pytest.raises(ValueError, match='w is there twice'):
        bare({'w': A['w'], 'module.w': B['w']}, 'file')


def test_a_part_by_its_prefix():
    assert list(under({'first_stage_model.w': 1, 'model.w': 2}, 'first_stage_model.')) == ['w']
    assert under(A, 'first_stage_model.') == A
