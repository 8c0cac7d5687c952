"""The baseline computes the same thing, or a comparison of times would mean nothing."""

import pytest
import torch

from benchmarks.baseline import DenseBaseline, update_reference
from benchmarks.workload import Workload, build_model, make_batch

WORKLOAD = Workload('tiny', frames=8, batch=2, tau_samples=2)


@pytest.mark.parametrize('decoder', ['dense', 'folded'])
def test_losses_and_gradients_are_equal(decoder):
    """In float32: 1e-5 on losses and, relative to the largest of each tensor, 1e-4 on gradients."""
    model = build_model(WORKLOAD)
    data = model.data_preprocessor(make_batch(WORKLOAD), training=True)
    clip, samples = data['inputs'].flatten(0, 1), data['data_samples']
    results = []
    for loss in (model.loss, DenseBaseline(model, decoder).loss):
        model.zero_grad()
        losses = loss(clip, samples)
        sum(losses.values()).backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
        results.append((losses, gradients))
    (ours, our_gradients), (theirs, their_gradients) = results
    assert ours.keys() == theirs.keys() == {'loss_flow', 'loss_align'}
    for name, value in ours.items():
        assert value.item() == pytest.approx(theirs[name].item(), abs=1e-5)
    for name, gradient in our_gradients.items():
        scale = gradient.abs().max()
        assert scale > 0, name
        assert (gradient - their_gradients[name]).abs().max() < 1e-4 * scale, name


def test_the_loop_moves_the_reference_as_the_fused_update_does():
    ours, theirs = build_model(WORKLOAD), build_model(WORKLOAD)
    for model in (ours, theirs):
        with torch.no_grad():
            model.backbone.norm.weight.fill_(3.0)
    ours.reference.update(ours.backbone, 0.9)
    update_reference(theirs, 0.9)
    for a, b in zip(ours.reference.parameters(), theirs.reference.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert ours.reference.encoder.norm.weight[0] == pytest.approx(1.2)


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ValueError, match="decoder='sparse' is not one of dense, folded"):
        DenseBaseline(build_model(WORKLOAD), 'sparse')
