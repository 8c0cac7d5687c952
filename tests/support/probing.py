"""A tiny probe on toy clips whose class is the brightness of the whole clip: separable."""

import torch
from mmaction.structures import ActionDataSample
from tiny import CONFIG, PREPROCESSOR

from nextvid_mm.registry import MODELS, SCOPE


def probe_config(**changes):
    return (
        dict(
            type='ProbeRecognizer',
            _scope_=SCOPE,
            backbone=CONFIG['backbone'],
            encoder=None,
            data_preprocessor=PREPROCESSOR,
            cls_head=dict(
                type='ProbeHead', num_classes=3, num_heads=2, lrs=[3e-3, 1e-3], weight_decays=[0.01]
            ),
        )
        | changes
    )


def build_probe(**changes):
    model = MODELS.build(probe_config(**changes))
    model.init_weights()
    return model


def toy_batches(count=24, batch=8, clips=1):
    samples = []
    for number in range(count):
        label = number % 3
        noise = torch.randint(0, 60, (clips, 3, 8, 16, 16))
        data = ActionDataSample().set_gt_label(label)
        data.set_metainfo(dict(sample_idx=number, filename=f'{number}.mp4'))
        samples.append(((noise + 80 * label).byte(), data))
    return [
        dict(inputs=[x for x, _ in part], data_samples=[d for _, d in part])
        for part in (samples[i : i + batch] for i in range(0, count, batch))
    ]
