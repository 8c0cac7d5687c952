"""A tiny classifier of videos, untrained, without a run."""

import torch
from finetune_run import finetune_run
from probe_run import CLASSES, probe_run

from nextvid_mm.inferencers import Classifier
from nextvid_mm.registry import MODELS, SCOPE

NAMES = ['dark', 'grey', 'bright'][:CLASSES]


def save_result(root, kind='finetuned', **changes):
    """Config and checkpoint of a model with random weights."""
    torch.manual_seed(2)
    if kind == 'probe':
        from tiny import CONFIG

        cfg = probe_run(root, root / 'out', **changes)
        model = MODELS.build(dict(cfg.model, _scope_=SCOPE, backbone=CONFIG['backbone']))
        model.init_weights()
        for parameter in model.cls_head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    else:
        cfg = finetune_run(root, root / 'out', None, **changes)
        cfg.model.backbone.init_cfg = None
        model = MODELS.build(dict(cfg.model, _scope_=SCOPE))
        model.init_weights()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    path = root / f'{kind}.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return cfg, str(path)


def build_classifier(root, kind='finetuned', names=NAMES, **changes):
    cfg, path = save_result(root, kind, **changes)
    return Classifier.from_files(cfg, path, names, 'cpu')
