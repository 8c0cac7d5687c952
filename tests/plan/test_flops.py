"""The formulas against what PyTorch counts while a model runs."""

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.step import costs_of, work_of
from benchmarks.workload import Workload, build_model, make_batch, mask_sizes
from nextvid_mm.layers import attention, prefix
from nextvid_mm.plan.flops import autoencoder_cost, prefix_pairs, step_cost, uncounted

WORKLOAD = Workload('tiny', frames=8, batch=2, tau_samples=2)


REGRESSION = dict(WORKLOAD.config()['head'], type='RegressionHead')
REGRESSION = {key: REGRESSION[key] for key in ('type', 'decoder')}


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(align_head=None, reference=None),
        dict(head=None, target_generator=None),
        dict(head=REGRESSION),
    ],
    ids=['full', 'generation', 'alignment', 'regression'],
)
def test_a_step_costs_what_pytorch_counts(monkeypatch, changes):
    config = WORKLOAD.config() | changes
    monkeypatch.setattr(Workload, 'config', lambda _: config)
    monkeypatch.setattr(attention, 'group_of', lambda *_: 1)  # no hidden pair is computed
    monkeypatch.setattr(prefix, 'has_kernel', lambda *_: False)
    model, batch = build_model(WORKLOAD), make_batch(WORKLOAD)
    data = model.data_preprocessor(batch, training=True)
    # The plain kernel consists of matrix products, which are counted; the fused one is not.
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            losses = model.loss(data['inputs'].flatten(0, 1), data['data_samples'])
        with FlopCounterMode(display=False) as backward:
            sum(losses.values()).backward()
    costs = costs_of(WORKLOAD, mask_sizes(batch))
    assert sum(cost.forward for cost in costs.values()) == forward.get_total_flops()
    assert sum(cost.backward for cost in costs.values()) == backward.get_total_flops()
    assert uncounted(config) is None
    counted = forward.get_flop_counts()
    if 'align_head' in changes:
        assert 'EMAReference' not in counted
        return
    for part, name in dict(reference='EMAReference', predictor='QFormerPredictor').items():
        assert costs[part].forward == sum(counted[name].values()), part


def test_what_the_formulas_are_not_for_is_named():
    config = WORKLOAD.config()
    assert uncounted(dict(config, neck=dict(type='JointPredictor'))) == (
        "model.neck.type='JointPredictor'"
    )
    decoder = dict(type='CrossSelfDiT')
    assert uncounted(dict(config, head=dict(decoder=decoder))) == (
        "model.head.decoder.type='CrossSelfDiT'"
    )
    assert uncounted(dict(type='MaskedVideoRegression')) == "model.type='MaskedVideoRegression'"


def test_the_autoencoder_costs_what_its_layers_say():
    """The VA-VAE at 256 px; convolutions and attention, added up from its shape."""
    target = Workload('base', target='vae').config()['target_generator']
    cost = autoencoder_cost(target, 256)
    assert (cost.forward, cost.backward) == (137_944_367_104, 0)


def test_half_of_the_pairs_are_causal():
    assert prefix_pairs(1, 5, 7) == 35
    assert prefix_pairs(4, 5, 7) == sum(5 * 7 * t for t in (1, 2, 3, 4))


def test_static_clips_cost_one_frame_of_the_autoencoder():
    load = Workload('base', frames=16, batch=4, pixels=256, target='vae')
    masks = mask_sizes(make_batch(Workload('tiny')))
    whole, mixed, static = (
        step_cost(load.config(), 4, 16, 256, masks, 1, share)['target'].forward
        for share in (0.0, 0.25, 1.0)
    )
    assert whole == pytest.approx(14 * static)
    assert mixed == pytest.approx(0.75 * whole + 0.25 * static)


def test_the_rows_of_a_table_add_up():
    costs = costs_of(WORKLOAD, mask_sizes(make_batch(WORKLOAD)))
    parts = ('target', 'reference', 'encoder', 'predictor', 'decoder', 'align', 'backward')
    assert work_of('whole step', costs) == pytest.approx(sum(work_of(p, costs) for p in parts))
    assert work_of('optimiser', costs) == 0
