"""A probe or a fine-tuned model with all that a new video needs, and one folder to give it away."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from torch import Tensor

from nextvid_mm.data_checks import label_names, list_file_of
from nextvid_mm.engine.probe.features import innermost_dataset, with_pipeline
from nextvid_mm.files import write_text
from nextvid_mm.interop.export import table, version_table
from nextvid_mm.layers import has_lora, load_exactly, merged
from nextvid_mm.models.checkpoints import (
    config_text,
    hash_weights,
    read_checkpoint,
    read_config,
    stored_backbone,
)
from nextvid_mm.models.checkpoints.files import read_file, read_metadata
from nextvid_mm.models.hub import local_folder, write_weights
from nextvid_mm.registry import MODELS, SCOPE, require_registered

WEIGHTS, CONFIG, CLASSES, CARD = 'model.safetensors', 'config.py', 'classes.txt', 'README.md'
FILES = (WEIGHTS, CONFIG, CLASSES)
METADATA = 'nextvid_mm_classifier'
# What else may lie in a folder: pages and licences, and what begins with a dot.
_BESIDE = ('.md', '.png', 'LICENSE', 'NOTICE')
_CARD = """\
---
{{ card_data }}
---

# {{ title }}

{{ summary }}

## Use

```bash
python tools/predict.py FOLDER VIDEO
```

```python
from nextvid_mm.inferencers import Classifier, classify

classifier = Classifier.from_pretrained('FOLDER')
(answer,) = classify(classifier, ['video.mp4'])
print(answer.top(classifier.names, 5))
```

## Classes

{{ classes }}

## Versions

{{ versions }}
"""


class Classifier(ModelHubMixin, library_name='nextvid_mm', pipeline_tag='video-classification'):
    """Files in, probabilities of classes out; equal to ``tools/test.py --dump`` on the same files.

    ``model`` is MMAction2's (or MMPretrain's) model with ``model.cfg``: what
    ``mmaction.apis.inference_recognizer`` takes. ``save_pretrained(folder)`` writes weights,
    config, class names and preprocessing; ``from_pretrained(folder)`` reads them, as data.

    Args:
        config: with ``model`` and ``test_pipeline``, see :func:`inference_config`.
        state: state dict of the model.
        names: of the classes, by number.
        source: where it is from, for messages.
        device: where to compute; None takes the fastest there is.

    Raises:
        ValueError: if weights, config and names do not fit together.
    """

    def __init__(
        self,
        config: Config,
        state: Mapping[str, Any],
        names: Sequence[str] | None = None,
        source: str = 'the model',
        device: str | torch.device | None = None,
    ) -> None:
        self._hub_mixin_config = None  # CONFIG is the config
        self.config, self.device = config, torch.device(device or get_device())
        self.scope = config.get('default_scope') or SCOPE
        with DefaultScope.overwrite_default_scope(self.scope):
            self.model: Any = MODELS.build(copy.deepcopy(config.model))
            self.pipeline = Compose(copy.deepcopy(config.test_pipeline))
        head: Any = getattr(self.model, 'cls_head', getattr(self.model, 'head', None))
        if not hasattr(head, 'num_classes'):
            raise ValueError(
                f'{source} holds a {type(self.model).__name__}, which has no classes: give a '
                'trained probe (tools/test.py) or a fine-tuned model (tools/train.py)'
            )
        load_exactly(self.model, state, f'{source} does not hold the model it records')
        self.model.to(self.device).eval().requires_grad_(False)
        self.model.cfg = config
        self.names = list(names) if names else [str(k) for k in range(head.num_classes)]
        if len(self.names) != head.num_classes:
            raise ValueError(
                f'{source}: {len(self.names)} class names for {head.num_classes} classes of its '
                'head; give one name for each, in the order of the labels'
            )

    @classmethod
    def from_files(
        cls,
        config: Config,
        checkpoint: str | Path,
        names: Sequence[str] | None = None,
        device: str | torch.device | None = None,
    ) -> Classifier:
        """From the complete config of a training and its result.

        Args:
            config: as ``tools/test.py`` takes it.
            checkpoint: ``probe.pth`` of a probe, or a checkpoint of fine-tuning.
            names: of the classes; None reads ``label_map.txt`` beside the list of the test data,
                if there is one, else they are called by their numbers.
            device: see the class.

        Raises:
            FileNotFoundError: if there is no such checkpoint.
            ValueError: if it is none of this config, or the config is of no classifier.
        """
        content = read_checkpoint(checkpoint)
        what = f'{checkpoint} with {config.filename or "its config"}'
        small = inference_config(config, content, what)
        if names is None:
            names = _names_beside_the_list(config)
        return cls(small, content['state_dict'], names, what, device)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        device: str | torch.device | None = None,
        **hub: Any,
    ) -> Classifier:
        """Read a folder that ``save_pretrained`` has written, here or on the Hub."""
        return read_folder(local_folder(model_id, **hub), device)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the folder; the card is written by ``save_pretrained``, unless there is one."""
        check_folder(save_directory, complete=False)
        if broken := [name for name in self.names if not name.strip() or '\n' in name]:
            raise ValueError(f'class name {broken[0]!r} is empty or has a line break')
        config, model = self.config, self.model
        if has_lora(model):  # the folder needs no peft
            config, model = copy.deepcopy(config), merged(model)
            config.model.backbone.pop('tuned')
        text = config_text(config)
        record = dict(config_sha256=_digest(text), weights_sha256=hash_weights(model))
        write_text(save_directory / CONFIG, text)
        write_text(save_directory / CLASSES, '\n'.join(self.names) + '\n')
        write_weights(model, save_directory / WEIGHTS, record, key=METADATA)

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """The card of the Hugging Face Hub."""
        count = sum(p.numel() for p in self.model.parameters())
        sampling: dict[str, Any] = next(
            (s for s in self.config.test_pipeline if 'num_frames' in s), {}
        )
        rows = {
            'model': f'{type(self.model).__name__} on {type(self.model.backbone).__name__}',
            'parameters': f'{count:,}',
            'classes': len(self.names),
            'clips': ', '.join(f'{k}={v!r}' for k, v in sampling.items() if k != 'type'),
            'SHA-256 of the weights': f'`{hash_weights(self.model)}`',
            'licence of the code': 'Apache-2.0; the data may restrict what the weights are for',
        }
        tags = ['video-classification', 'next-frame-prediction']
        return ModelCard.from_template(
            ModelCardData(library_name=SCOPE, pipeline_tag='video-classification', tags=tags),
            template_str=_CARD,
            title='Video classifier',
            summary=table(('', ''), rows.items()),
            classes=', '.join(self.names),
            versions=version_table({}),
        )

    @torch.no_grad()
    def scores(self, samples: Sequence[Mapping[str, Any]]) -> Tensor:
        """Probabilities ``(B, K)`` of samples as the pipeline gives them, on the CPU."""
        cfg = getattr(self.model, 'test_cfg', None)
        views = max(len(sample['inputs']) for sample in samples)
        limit = (cfg or {}).get('max_testing_views')
        size = len(samples) if limit is None else max(1, limit // views)
        try:
            if size > 1 and cfg is not None:  # so many views fit without taking them in turns
                self.model.test_cfg = None
            parts = [samples[n : n + size] for n in range(0, len(samples), size)]
            found = [self.model.test_step(pseudo_collate(part)) for part in parts]
        finally:
            if cfg is not None:
                self.model.test_cfg = cfg
        return torch.stack([one.pred_score.float().cpu() for part in found for one in part])


def inference_config(config: Config, checkpoint: dict[str, Any], what: str) -> Config:
    """What classification needs of a complete config, as data.

    Args:
        config: of the training.
        checkpoint: its result; a probe's names its encoder.
        what: both, for messages.

    Raises:
        ValueError: if the config has no test pipeline, or the checkpoint holds no classifier.
    """
    loader = config.get('test_dataloader') or config.get('val_dataloader')
    if loader is None or config.get('model') is None:
        raise ValueError(f'{what}: no test_dataloader, so it is no config of a classifier')
    model = copy.deepcopy(config.model)
    model.pop('train_cfg', None)
    for key in ('blending', 'batch_augments'):
        (model.get('data_preprocessor') or {}).pop(key, None)
    if str(model.type).endswith('ProbeRecognizer'):
        if not any(name.startswith('cls_head.') for name in checkpoint['state_dict']):
            raise ValueError(
                f'{what}: it holds no trained probe; tools/test.py CONFIG CHECKPOINT trains one, '
                'and writes probe.pth'
            )
        model.backbone, model.encoder = stored_backbone(checkpoint), None
    elif isinstance(model.get('backbone'), dict):
        model.backbone.pop('init_cfg', None)
        model.backbone.pop('with_cp', None)
    pipeline = [
        {k: v for k, v in step.items() if k != 'cache_dir'}
        for step in with_pipeline(loader.dataset).pipeline
    ]
    scope = config.get('default_scope') or SCOPE
    return Config(dict(default_scope=scope, model=model, test_pipeline=pipeline))


def read_folder(folder: Path, device: str | torch.device | None = None) -> Classifier:
    """A folder of ``save_pretrained``; nothing in it is run.

    Raises:
        FileNotFoundError: if a file of it is missing.
        ValueError: if a file is no part of it, or of another model.
    """
    check_folder(folder)
    text = (folder / CONFIG).read_text(encoding='utf-8')
    recorded = read_metadata(folder / WEIGHTS, METADATA).get('config_sha256')
    if recorded != _digest(text):
        raise ValueError(
            f'{folder / CONFIG} is not the config that {WEIGHTS} beside it was saved with: it was '
            'changed, or is of another model'
        )
    config = read_config(folder / CONFIG)
    require_registered(config.to_dict(), str(folder / CONFIG))
    names = (folder / CLASSES).read_text(encoding='utf-8').splitlines()
    state = read_file(folder / WEIGHTS)
    return Classifier(config, state, [name for name in names if name], str(folder), device)


def check_folder(folder: Path, complete: bool = True) -> None:
    """Raise if a folder lacks files of a classifier, or has others.

    Raises:
        FileNotFoundError, ValueError: with the first such file.
    """
    there = {path.name for path in folder.iterdir() if not path.name.startswith('.')}
    for name in FILES if complete else ():
        if name not in there:
            raise FileNotFoundError(
                f'{folder} lacks {name}; a model folder holds {", ".join(FILES)}, as '
                'tools/predict.py --save writes them'
            )
    foreign = sorted(name for name in there - set(FILES) if not name.endswith(_BESIDE))
    if foreign:
        raise ValueError(
            f'{folder / foreign[0]} is no part of a model folder, which holds '
            f'{", ".join(FILES)} and {CARD}: remove it'
        )


def _names_beside_the_list(config: Config) -> list[str] | None:
    loader = config.get('test_dataloader') or config.val_dataloader
    file = list_file_of(innermost_dataset(loader.dataset))
    names = label_names(file, 0)
    return names or None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode('utf-8')).hexdigest()
