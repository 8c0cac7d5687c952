import json

import pytest
import torch
from caching import masked_config
from mmengine.config import Config
from probing import build_probe, probe_config, toy_batches
from tiny import CONFIG, PATCH, build

from nextvid_mm.engine.probe.results import MEASURED

MASKING = dict(
    type='FrameIsolatedMasking',
    patch_size=PATCH,
    strategies=[dict(num_blocks=3, scale=0.15), dict(num_blocks=1, scale=0.4)],
)


@pytest.fixture
def work_dir(tmp_path):
    """A run as ``tools/train.py`` leaves it, resumed once, without a checkpoint."""
    run = tmp_path / 'run'
    stage = 'dict(name="{}", steps=2, lr=0.1, tau_samples=1, num_frames=4, batch_size=2)'
    stages = ', '.join(stage.format(name) for name in ('warm-up', 'stable'))
    for folder, steps in (('20260101_000000', (1, 2, 3)), ('20260102_000000', (3, 4))):
        target = run / folder / 'vis_data'
        target.mkdir(parents=True)
        lines = [
            json.dumps(dict(loss=float(step), lr=0.1, iter=step, step=step, note='text'))
            for step in steps
        ]
        (target / 'scalars.json').write_text('\n'.join(lines))
    # The second log tells another loss of the step that was done twice.
    again = run / '20260102_000000' / 'vis_data' / 'scalars.json'
    again.write_text(again.read_text().replace('3.0', '9.0'))
    (run / 'config.py').write_text(f"train_cfg = dict(stages=[{stages}])\nname = 'a <b> config'\n")
    return run


@pytest.fixture
def trained_dir(work_dir):
    """The same with a model, masks and a checkpoint."""
    text = (work_dir / 'config.py').read_text()
    model = CONFIG | dict(data_preprocessor=probe_config()['data_preprocessor'])
    text += f'model = {model!r}\n'
    text += f'train_dataloader = dict(dataset=dict(pipeline=[{MASKING!r}]))\n'
    (work_dir / 'config.py').write_text(text)
    data = dict(names=['clips', 'images'], weights=[3.0, 1.0], lengths=[12, 2])
    meta = dict(cfg=f'model = {CONFIG!r}', iter=4, seed=7, data=data)
    saved = dict(state_dict=build().state_dict(), meta=meta)
    torch.save(saved, work_dir / 'iter_4.pth')
    return work_dir


@pytest.fixture
def probe(tmp_path):
    """A probe config for three classes and decoded videos of them."""
    model = probe_config(backbone=None)
    dataset = dict(ann_file=str(tmp_path / 'list.txt'))
    (tmp_path / 'label_map.txt').write_text('dark\ngrey\nbright\n')
    config = Config(
        dict(
            model=model,
            train_cfg=dict(max_epochs=2),
            train_dataloader=dict(batch_size=8),
            val_dataloader=dict(dataset=dataset),
        )
    )
    return config, toy_batches()


@pytest.fixture
def trained_probe(trained_dir, probe, write_record):
    """The record of a probe of the run's reference encoder, with ``probe.pth`` beside it."""
    folder = trained_dir / 'probe'
    folder.mkdir()
    model = build_probe(encoder=str(trained_dir / 'iter_4.pth'), backbone=None)
    model.cls_head.select(1)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'probe.pth')
    text = f'val_dataloader = dict(dataset=dict(type="x"))\nmodel = {probe[0].model.to_dict()!r}\n'
    origin = model.origin.as_dict()
    return write_record(
        folder / 'probe_results.json', config=text, encoder=origin, top1=87.5
    ), model


@pytest.fixture
def write_record():
    """Writes the record of a probe's evaluation, as far as a report reads it."""

    def write(path, **changes):
        inner = dict(type='ClipListDataset', ann_file='val.txt', data_root='data/mine')
        loader = dict(dataset=dict(type='LabelledDataset', dataset=inner))
        record = {key: [] for key in MEASURED} | dict(
            config=f'val_dataloader = {loader!r}\n',
            checkpoint='probe.pth',
            split='val',
            head_sha256='ab',
            encoder=dict(path='work_dirs/run/iter_4.pth', weights='reference', sha256='12345678ab'),
            mode='cached features',
            best='lr 0.001',
            num_samples=1200,
            failed=[['a.mp4', 'broken']],
            top1=50.0,
            top5=75.25,
            mean_class=48.0,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record | changes))
        return path

    return write


@pytest.fixture
def step_config(tmp_path):
    """A training config over videos and images that are there, with two masks."""
    return masked_config(tmp_path)
