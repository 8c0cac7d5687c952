import torch

from nextvid_mm.layers.standardize import RunningStandardizer


def test_fit_standardises_every_channel():
    features = torch.randn(20, 6, 4) * torch.tensor([1.0, 5.0, 0.1, 30.0]) + 7
    standardizer = RunningStandardizer(4)
    standardizer.fit(features)
    out = standardizer(features).flatten(0, 1)
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)


def test_running_statistics_equal_those_of_all_batches_together():
    batches = [torch.randn(n, 5, 3) * (n + 1) + n for n in (2, 7, 4)]
    running, whole = RunningStandardizer(3), RunningStandardizer(3)
    for batch in batches:
        running(batch)
    whole.fit(torch.cat(batches))
    torch.testing.assert_close(running.mean, whole.mean)
    torch.testing.assert_close(running.var, whole.var)
    assert running.count == 13 * 5


def test_statistics_change_in_training_only_and_never_after_fit():
    standardizer = RunningStandardizer(3)
    standardizer.eval()(torch.randn(8, 3) + 5)
    assert standardizer.count == 0
    standardizer.fit(torch.randn(8, 3))
    before = standardizer.mean.clone()
    standardizer.train()(torch.randn(8, 3) + 5)
    assert torch.equal(standardizer.mean, before)


def test_state_survives_a_checkpoint():
    standardizer, other = RunningStandardizer(3), RunningStandardizer(3)
    standardizer.fit(torch.randn(8, 3) * 4)
    other.load_state_dict(standardizer.state_dict())
    features = torch.randn(5, 3)
    assert torch.equal(other.train()(features), standardizer(features))


def test_keeps_the_type():
    assert RunningStandardizer(3)(torch.randn(8, 3).bfloat16()).dtype == torch.bfloat16
