import pytest
import torch

from nextvid_mm.layers.precision import ExactBuffers, check_dtype, fast_dtype, resolve_dtype


@pytest.fixture
def cpu(monkeypatch):
    """A CPU with the instructions asked for."""

    def make(amx=False, avx512=False):
        monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: amx)
        monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: avx512)

    return make


@pytest.mark.parametrize(
    ('amx', 'avx512', 'expected'),
    [(True, False, torch.bfloat16), (False, True, torch.bfloat16), (False, False, None)],
)
def test_a_cpu_uses_bfloat16_only_where_it_has_instructions_for_it(cpu, amx, avx512, expected):
    cpu(amx, avx512)
    assert fast_dtype('cpu') is expected
    assert resolve_dtype('auto', torch.device('cpu')) is expected


@pytest.mark.parametrize('supported', [True, False])
def test_a_gpu_uses_bfloat16_only_where_it_is_not_emulated(monkeypatch, supported):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True: supported)
    assert fast_dtype('cuda:1') is (torch.bfloat16 if supported else None)


def test_an_unknown_device_computes_in_float32():
    assert fast_dtype('meta') is None


def test_names_mean_what_they_say_on_any_device(cpu):
    cpu()
    assert resolve_dtype(None, 'cpu') is None
    assert resolve_dtype('bfloat16', 'cpu') is torch.bfloat16
    assert resolve_dtype('float16', 'cpu') is torch.float16


def test_an_unknown_name_is_refused_with_its_key():
    check_dtype('auto', 'model.dtype')
    with pytest.raises(ValueError, match=r"model.dtype='bf16' is not one of .*'bfloat16'.*'auto'"):
        check_dtype('bf16', 'model.dtype')


def test_exact_buffers_survive_a_change_of_precision_but_move():
    class Table(ExactBuffers):
        def __init__(self):
            super().__init__()
            self.register_buffer('frequency', torch.linspace(0, 1, 7, dtype=torch.float64))
            self.linear = torch.nn.Linear(2, 2)

    table, exact = Table(), torch.linspace(0, 1, 7, dtype=torch.float64)
    for cast in (table.bfloat16(), table.half(), table.to(torch.float32)):
        assert torch.equal(cast.frequency, exact)
    assert table.bfloat16().linear.weight.dtype == torch.bfloat16
    assert table.to('meta').frequency.is_meta
