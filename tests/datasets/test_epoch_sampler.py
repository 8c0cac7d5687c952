from types import SimpleNamespace

from nextvid_mm.datasets import EpochSampler


def sampler(rank=0, world=1, epoch=0, skip=0, seed=3):
    made = EpochSampler(range(7), shuffle=True, seed=seed)
    made.rank, made.world_size = rank, world
    made.num_samples = -(-7 // world)
    made.total_size = made.num_samples * world
    made.set_epoch(epoch)
    made.set_skip(skip)
    return list(made)


def test_an_epoch_holds_every_sample_once_in_an_order_of_its_own():
    first, second = sampler(epoch=0), sampler(epoch=1)
    assert sorted(r.index for r in first) == list(range(7))
    assert [r.index for r in first] != [r.index for r in second]
    assert not {r.seed for r in first} & {r.seed for r in second}
    assert first == sampler(epoch=0)
    assert first != sampler(epoch=0, seed=4)


def test_it_starts_inside_an_epoch():
    assert sampler(skip=3) == sampler()[3:]
    assert sampler(skip=7) == []


def test_processes_share_the_epoch_of_one_process():
    """The same global batches, with the same augmentation; one sample twice to fill up."""
    whole = sampler()
    parts = [sampler(rank, 2) for rank in (0, 1)]
    woven = [request for pair in zip(*parts, strict=True) for request in pair]
    assert woven[:7] == whole
    extra = SimpleNamespace(index=woven[7].index, seed=woven[7].seed)
    assert extra.index == whole[0].index
    assert extra.seed != whole[0].seed
