import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS
from torch.utils.data import DataLoader, Dataset

from nextvid_mm.datasets.collate import _Parcel, collate_clips


class Samples(Dataset):
    """Samples with everything a batch may hold."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        from mmaction.structures import ActionDataSample

        generator = torch.Generator().manual_seed(index)
        clip = torch.randint(0, 255, (1, 3, 2, 4, 4), generator=generator, dtype=torch.uint8)
        data_sample = ActionDataSample().set_gt_label(index)
        masks = [dict(visible=torch.arange(3), hidden=torch.arange(index, 5))]
        data_sample.set_field(masks, 'masks')
        data_sample.set_metainfo(dict(path=f'{index}.mp4', sample_seed=2**62 + index))
        # Not contiguous, as FormatShape leaves it.
        return dict(
            inputs=clip.transpose(1, 2).contiguous().transpose(1, 2), data_samples=data_sample
        )


def assert_same(batch, reference):
    assert type(batch) is dict
    assert batch.keys() == reference.keys()
    for ours, theirs in zip(batch['inputs'], reference['inputs'], strict=True):
        assert torch.equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    for ours, theirs in zip(batch['data_samples'], reference['data_samples'], strict=True):
        assert ours.metainfo == theirs.metainfo
        assert torch.equal(ours.gt_label, theirs.gt_label)
        for key in ('visible', 'hidden'):
            assert torch.equal(ours.masks[0][key], theirs.masks[0][key])


@pytest.mark.parametrize('num_workers', [0, 1])
def test_what_arrives_is_what_pseudo_collate_returns(num_workers):
    samples = Samples()
    loader = DataLoader(samples, batch_size=4, num_workers=num_workers, collate_fn=collate_clips)
    assert_same(next(iter(loader)), pseudo_collate([samples[n] for n in range(4)]))


def test_a_batch_travels_as_one_tensor_per_dtype():
    batch = pseudo_collate([Samples()[n] for n in range(4)])
    _, (_, pieces) = _Parcel(batch).__reduce__()
    assert set(pieces) == {torch.uint8, torch.int64}
    assert all(piece.is_shared() for piece in pieces.values())
    assert pieces[torch.uint8].numel() == 4 * 3 * 2 * 16


def test_tensors_do_not_overlap():
    batch = pseudo_collate([Samples()[n] for n in range(4)])
    copy = pickle.loads(ForkingPickler.dumps(_Parcel(batch)))
    assert_same(copy, batch)
    copy['inputs'][0].zero_()
    assert torch.equal(copy['inputs'][1], batch['inputs'][1])


def test_is_found_by_its_scoped_name(default_scope):
    assert FUNCTIONS.get('nextvid_mm.collate_clips') is collate_clips
