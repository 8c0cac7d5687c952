import pytest
import torch
from tiny import build, clips


def test_it_starts_as_the_encoder_and_follows_the_formula():
    model = build()
    old = [p.clone() for p in model.reference.encoder.parameters()]
    for a, b in zip(old, model.backbone.parameters(), strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        for p in model.backbone.parameters():
            p.add_(torch.randn_like(p))
    model.reference.update(model.backbone, momentum=0.9)
    new = list(zip(old, model.reference.encoder.parameters(), model.backbone.parameters(),
                   strict=True))  # fmt: skip
    for before, after, encoder in new:
        torch.testing.assert_close(after, 0.9 * before + 0.1 * encoder)
    model.reference.update(model.backbone, momentum=0.0)
    for _, after, encoder in new:
        torch.testing.assert_close(after, encoder)


def test_it_never_trains():
    model = build(backbone=dict(build_backbone(), drop_path_rate=0.5, with_cp=True)).train()
    assert not model.reference.encoder.training
    assert not any(p.requires_grad for p in model.reference.parameters())
    clip = clips()
    patches, grid = model.backbone.patchify(clip), model.backbone.grid_of(clip)
    first = model.reference(patches, grid)
    assert torch.equal(first, model.reference(patches, grid))
    assert first.shape == (2, 4, 16, 24)


@pytest.mark.parametrize('tuned', ['lora', dict(lora=dict(rank=2))])
def test_weights_that_the_average_does_not_have_are_refused(tuned):
    with pytest.raises(ValueError, match=r"model\.backbone\.tuned=.*lora.*'norms_and_biases'"):
        build(backbone=dict(build_backbone(), tuned=tuned))


@pytest.mark.parametrize('tuned', [1, 'norms_and_biases'])
def test_an_encoder_that_is_trained_in_part_has_an_average(tuned):
    model = build(backbone=dict(build_backbone(), tuned=tuned))
    model.reference.update(model.backbone, momentum=0.9)
    assert not any(p.requires_grad for p in model.reference.parameters())


def build_backbone():
    from tiny import CONFIG

    return CONFIG['backbone']
