import torch

from nextvid_mm.models.heads import AlignHead


def test_the_loss_is_the_weighted_mean_square_and_stops_at_the_reference():
    head = AlignHead(6, 4, loss_weight=0.3)
    z, reference = torch.randn(2, 3, 5, 6, requires_grad=True), torch.randn(2, 3, 5, 4)
    reference.requires_grad_()
    loss = head.loss(z, reference)['loss_align']
    torch.testing.assert_close(loss, 0.3 * (head.proj(z) - reference).square().mean())
    loss.backward()
    assert z.grad is not None
    assert reference.grad is None


def test_normalised_targets_ignore_scale_and_shift():
    head = AlignHead(6, 4, normalize_target=True)
    z, reference = torch.randn(2, 3, 5, 6), torch.randn(2, 3, 5, 4)
    a, b = (head.loss(z, r)['loss_align'] for r in (reference, 5 * reference + 2))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
