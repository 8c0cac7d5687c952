import pytest
import torch
from mmengine.registry import FUNCTIONS
from torch.utils.data import DataLoader, Dataset

from nextvid_mm.datasets.collate import collate_clips
from nextvid_mm.registry import MODELS


class Samples(Dataset):
    """Samples with everything a batch may hold."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        from mmaction.structures import ActionDataSample

        generator = torch.Generator().manual_seed(index)
        clip = torch.randint(0, 255, (1, 3, 2, 4, 4), generator=generator, dtype=torch.uint8)
        data_sample = ActionDataSample().set_gt_label(index)
        masks = [dict(visible=torch.arange(3), hidden=torch.arange(index, index + 5))]
        data_sample.set_field(masks, 'masks')
        data_sample.set_metainfo(
            dict(path=f'{index}.mp4', sample_seed=2**62 + index, static=index == 1)
        )
        # Not contiguous, as FormatShape leaves it.
        return dict(
            inputs=clip.transpose(1, 2).contiguous().transpose(1, 2), data_samples=data_sample
        )


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_batch_is_a_few_tensors(num_workers):
    samples = Samples()
    loader = DataLoader(samples, batch_size=4, num_workers=num_workers, collate_fn=collate_clips)
    (batch,) = loader
    inputs, data = batch['inputs'], batch['data_samples']
    assert inputs.shape == (4, 1, 3, 2, 4, 4)
    assert inputs.dtype == torch.uint8
    (mask,) = data.masks
    for number in range(4):
        packed = samples[number]
        assert torch.equal(inputs[number], packed['inputs'])
        assert torch.equal(mask.visible[number], packed['data_samples'].masks[0]['visible'])
        assert torch.equal(mask.queried[number], packed['data_samples'].masks[0]['hidden'])
    assert data.seeds.tolist() == [2**62 + number for number in range(4)]
    assert [clip['path'] for clip in data.info] == [f'{number}.mp4' for number in range(4)]
    assert (data.moving.tolist(), data.still.tolist()) == ([0, 2, 3], [1])
    assert data.target is None
    assert inputs.is_shared() == mask.visible.is_shared() == bool(num_workers)


def test_sizes_that_differ_are_refused_with_a_file():
    odd = Samples()[1]
    odd['inputs'] = odd['inputs'][..., :2]
    with pytest.raises(ValueError, match=r'clip of 1.mp4 has shape \(1, 3, 2, 4, 2\), another'):
        collate_clips([Samples()[0], odd])


def test_cached_targets_of_still_clips_are_spread():
    samples = [Samples()[number] for number in range(2)]
    samples[0]['data_samples'].set_field(torch.randn(3, 4, 5), 'target')
    samples[1]['data_samples'].set_field(torch.randn(1, 4, 5), 'target')
    target = collate_clips(samples)['data_samples'].target
    assert target.shape == (2, 3, 4, 5)
    assert torch.equal(target[1], samples[1]['data_samples'].target.expand(3, -1, -1))


def test_pixels_are_the_only_large_thing_and_go_with_one_copy(monkeypatch):
    """What PyTorch pins and MMEngine moves: nothing but tensors, each copied once."""
    preprocessor = MODELS.build(dict(type='ClipPreprocessor', mean=[127.5] * 3, std=[127.5] * 3,
                                     format_shape='NCTHW'))  # fmt: skip
    batch, copies, to = collate_clips([Samples()[n] for n in range(4)]), [], torch.Tensor.to

    def count(tensor, *args, non_blocking=False, **kwargs):
        copies.append((tensor.shape, non_blocking))
        return to(tensor, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, 'to', count)
        data = preprocessor.cast_data(batch)
    assert sorted(copies) == sorted(
        (t.shape, True)
        for t in (batch['inputs'], *batch['data_samples'].masks[0], batch['data_samples'].moving,
                  batch['data_samples'].still)
    )  # fmt: skip
    assert type(data['data_samples']) is type(batch['data_samples'])
    expected = (batch['inputs'] - torch.tensor(127.5)) / 127.5
    found = preprocessor(batch)['inputs']
    torch.testing.assert_close(found, expected)
    assert torch.equal(found, preprocessor.preprocess(list(batch['inputs']), None)[0])


def test_is_found_by_its_scoped_name(default_scope):
    assert FUNCTIONS.get('nextvid_mm.collate_clips') is collate_clips
