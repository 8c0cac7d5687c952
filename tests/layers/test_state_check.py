import pytest
import torch
from torch import nn

from nextvid_mm.layers import check_state, load_exactly


def test_equal_names_and_shapes_pass_on_the_meta_device_too():
    with torch.device('meta'):
        expected = nn.Linear(2, 3).state_dict()
    check_state(nn.Linear(2, 3).state_dict(), expected, 'file.pth')


def test_the_message_names_the_first_of_every_kind_with_both_shapes():
    found = dict(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)).state_dict())
    found['extra'] = torch.zeros(7)
    del found['1.bias']
    with pytest.raises(ValueError, match=r'(?s)^file.pth: the weights do not fit') as caught:
        check_state(found, nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).state_dict(), 'file.pth')
    assert str(caught.value).splitlines()[1:] == [
        '  other shape (1): 0.weight: (3, 2) in the file, (3, 4) expected',
        '  missing (1): 1.bias (2,)',
        '  unexpected (1): extra (7,)',
    ]


def test_a_long_list_is_cut_and_counted():
    state = {f'block.{k}': torch.zeros(1) for k in range(9)}
    with pytest.raises(ValueError, match=r'missing \(9\): block.0 \(1,\); .*; and 4 more$'):
        check_state({}, state, 'empty.pth')


def test_what_is_no_tensor_is_named_by_its_type():
    with pytest.raises(ValueError, match=r'w: dict in the file, \(1,\) expected'):
        check_state(dict(w={}), dict(w=torch.zeros(1)), 'odd.pth')


def test_extra_states_are_of_any_size_and_advice_ends_the_message():
    check_state(dict(_extra_state=torch.zeros(3)), {'a._extra_state': torch.zeros(1)}, 'x.pth')
    with pytest.raises(ValueError, match=r'missing \(1\): w \(1,\)\nTrain another\.$'):
        check_state({}, dict(w=torch.zeros(1)), 'x.pth', 'Train another.')


@pytest.mark.parametrize('spoil', [lambda s: s.pop('bias'), lambda s: s.update(extra=s['bias'])])
def test_loading_takes_all_weights_or_none(spoil):
    module, other = nn.Linear(2, 3), nn.Linear(2, 3)
    state = dict(other.state_dict())
    load_exactly(module, state, 'x.pth')
    assert torch.equal(module.weight, other.weight)
    spoil(state)
    state['weight'] = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r'x.pth: the weights do not fit'):
        load_exactly(module, state, 'x.pth')
    assert torch.equal(module.weight, other.weight)
