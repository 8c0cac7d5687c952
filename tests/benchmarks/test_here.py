"""Forecasts for this CPU: calls are made again as they were, and counts times seconds add up."""

from collections import Counter

import pytest
import torch

from benchmarks import here
from benchmarks.here import (
    Store,
    alone,
    calls_of,
    compare_here,
    forecast,
    losses_and_gradients,
    prepare,
)
from benchmarks.step import make_stepper
from benchmarks.tracing import Argument, Trace
from benchmarks.workload import Workload


@pytest.fixture
def store():
    """Little memory, so that it comes round."""
    return Store(1 << 18)


LOAD = Workload('tiny', 4, 1)


@pytest.fixture(scope='module')
def step():
    """A step of the smallest size, and the calls of its trace."""
    stepper = make_stepper('ours', LOAD)
    return stepper, calls_of(LOAD, stepper)


def ran_of(function, *args):
    """Calls that a function makes."""
    with Trace() as trace:
        function(*args)
    return trace.ran


def test_a_call_is_made_again_with_its_shapes_strides_types_and_values(store):
    x, y = torch.ones(3, 8, dtype=torch.bfloat16).T, torch.ones(1, 3).expand(8, 3)
    (call,) = ran_of(lambda: torch.add(x, y, alpha=2))
    args, kwargs = prepare(call, store)
    assert kwargs == dict(alpha=2)
    for made, known in zip(args, (x, y), strict=True):
        assert (made.shape, made.stride(), made.dtype) == (known.shape, known.stride(), known.dtype)
    torch.testing.assert_close(call.operator(*args, **kwargs), args[0] + 2 * args[1])


def test_views_are_calls_and_a_tensor_passed_twice_is_one(store):
    def square(x):
        y = x.view(2, 8)
        return y * y

    view, product = ran_of(square, torch.ones(4, 4))
    assert view.operator is torch.ops.aten.view.default
    (first, second), _ = prepare(product, store)
    assert first is second


def test_indices_are_of_rows_that_there_are(store):
    index = torch.zeros(50, dtype=torch.long)
    (call,) = ran_of(torch.ones(3, 7).index_select, 0, index)
    (rows, dim, index), _ = prepare(call, store)
    assert (rows.shape, dim, index.shape) == ((3, 7), 0, (50,))
    assert set(index.tolist()) == {0, 1, 2}


def test_a_tensor_lies_behind_the_last_one_until_the_memory_is_used_up(store):
    like = Argument(torch.Size([100, 100]), (100, 1), torch.float32, 0)
    places = [store.take(like, 1).data_ptr() for _ in range(7)]
    assert len(set(places[:6])) == 6
    assert places[6] == places[0]
    large = like._replace(shape=torch.Size([1000, 100]))
    assert store.take(large, 1).shape == (1000, 100)


def test_what_an_operator_changes_has_its_values_again_for_the_next(store):
    (call,) = ran_of(torch.ones(64).mul_, 0.0)
    with torch.no_grad():
        alone(call, store, repeats=1)
    (buffer,) = store.buffers.values()
    assert buffer.min() >= 0.5


def test_seconds_are_multiplied_by_how_often_and_added(monkeypatch):
    (first,), (second,) = ran_of(torch.ones(2).exp), ran_of(torch.ones(3).exp)
    seconds = {first: 2.0, second: 0.5}
    monkeypatch.setattr(here, 'alone', lambda ran, *_: seconds[ran])
    assert forecast(Counter({first: 3, second: 4})) == pytest.approx(8.0)


def test_few_blocks_and_no_data_tell_the_calls_of_a_real_step(step):
    stepper, counted = step
    data = stepper.model.data_preprocessor(stepper.batch, training=True)
    with Trace() as trace:
        losses_and_gradients(stepper, data)
    differ = names(Counter(trace.ran))
    differ.subtract(names(counted))
    drawn = {'rand', 'randn', 'empty', 'uniform_', 'normal_', 'select', 'unsqueeze', 'view'}
    assert {name for name, times in differ.items() if times} <= drawn
    assert sum(abs(times) for times in differ.values()) < 0.02 * len(trace.ran)


def names(counted):
    found = Counter()
    for ran, times in counted.items():
        found[ran.operator.overloadpacket.__name__] += times
    return found


def test_a_step_is_predicted_and_measured(step, monkeypatch):
    monkeypatch.setattr(here, 'calls_of', lambda *_: step[1])
    (row,) = compare_here([LOAD], repeats=1, clock='cpu').rows
    assert 0.2 < row['predicted / measured'] < 3
    assert row['predicted / measured'] == pytest.approx(row['predicted s'] / row['measured s'])
    assert row['calls'] > row['distinct'] > 100
