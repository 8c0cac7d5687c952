import torch
from mmengine.config import Config
from probing import probe_config, toy_batches

from nextvid_mm.engine.probe.protocol import build_probe, probe_encoder


def config():
    return Config(
        dict(
            model=probe_config(),
            train_cfg=dict(max_epochs=10),
            train_dataloader=dict(batch_size=8),
        )
    )


def test_an_encoder_is_probed_on_videos_decoded_once():
    batches = (toy_batches(), toy_batches())
    before = [b['inputs'][0].clone() for b in batches[0]]
    first = probe_encoder(config(), seed=1, batches=batches)
    again = probe_encoder(config(), seed=1, batches=batches)
    assert first['top1'] == again['top1'] > 60
    assert all(torch.equal(a, b['inputs'][0]) for a, b in zip(before, batches[0], strict=True))


def test_overrides_reach_the_model():
    assert build_probe(config(), single_frame=True).single_frame
