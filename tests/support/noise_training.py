"""A tiny NextVid trained by the true Runner on noise, for hooks that look at the model."""

import copy

import torch
from tiny import CONFIG, FRAMES, PREPROCESSOR, SIZE, sample
from torch.utils.data import Dataset
from toy_training import train

from nextvid_mm.registry import DATASETS

ONE_STAGE = [
    dict(name='all', steps=2, lr=(1e-2, 1e-2), tau_samples=1, num_frames=FRAMES, batch_size=6,
         micro_batch_size=3, ema_momentum=0.5),
]  # fmt: skip


@DATASETS.register_module(force=True)
class NoiseClips(Dataset):
    """Clips of noise with masks, as the pipelines end, made from the request's seed."""

    names, weights, lengths = ('noise',), (1.0,), (97,)

    def __len__(self):
        return 97

    def __getitem__(self, request):
        generator = torch.Generator().manual_seed(request.seed)
        shape = (1, 3, request.num_frames, SIZE, SIZE)
        clip = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        with torch.random.fork_rng():
            torch.manual_seed(request.seed)
            return dict(inputs=clip, data_samples=sample(sample_seed=100))


def train_tiny(work_dir, *hooks, stages=ONE_STAGE, **changes):
    """Train a NextVid with stochastic depth, whose draws a careless measurement would move."""
    model = copy.deepcopy(CONFIG)
    model['backbone']['drop_path_rate'] = 0.5
    model['data_preprocessor'] = PREPROCESSOR
    settings = {
        'model': dict(_delete_=True, **model),
        'train_dataloader.dataset.type': 'NoiseClips',
        'train_dataloader.collate_fn.type': 'nextvid_mm.collate_clips',
    }
    return train(work_dir, *hooks, stages=stages, **settings, **changes)
