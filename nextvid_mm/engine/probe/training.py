"""Training probes on cached features, and evaluating them like any others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed

from nextvid_mm.datasets.progress import progress_bar
from nextvid_mm.engine.probe.cached_probe import ProbeSchedule, train_probes
from nextvid_mm.engine.probe.feature_cache import FeatureCache
from nextvid_mm.engine.probe.protocol import build_probe, cached_dataset, cached_loader
from nextvid_mm.engine.probe.results import save_probe
from nextvid_mm.registry import SCOPE

MODE = 'cached features'
CACHED_PROBE = 'cached_probe.pth'
CACHED_SCHEDULER = 'CosineAnnealingLR'
DEFAULT_CACHE = 'work_dirs/features'


def train_on_cache(cfg: Config, root: str | Path) -> Path:
    """Encode the training videos once and train the config's probes on the features.

    Training videos go through the pipeline of the validation videos, with one central view.

    Args:
        cfg: a complete probe config.
        root: folder of the feature cache.

    Returns:
        A checkpoint with encoder and probes, in the work directory.

    Raises:
        ValueError: if the config asks for several processes, or for another learning rate schedule
            than a cosine that ends at 0.
    """
    check_schedule(cfg)
    if cfg.get('launcher', 'none') != 'none':
        raise ValueError('--cache-features works in one process: start it without a launcher')
    init_default_scope(cfg.get('default_scope', SCOPE))
    seed = set_random_seed((cfg.get('randomness') or {}).get('seed'))
    model = build_probe(cfg).to(get_device())
    loader = cached_loader(cfg, 'train')
    if hasattr(loader.dataset, 'check_labels'):
        loader.dataset.check_labels(model.cls_head.num_classes)
    cache = FeatureCache(root, model, cached_dataset(cfg, 'train'))
    features = cache.load()
    if features is None:
        with _bar('encoding the training set once', 'samples') as progress:
            features = cache.fill(loader, progress)
    schedule = ProbeSchedule(
        cfg.train_cfg.max_epochs,
        cfg.train_dataloader.batch_size,
        seed,
        cfg.optim_wrapper.get('optimizer', {}),
    )
    with _bar(f'training {len(model.cls_head.members)} probes', 'steps') as progress:
        train_probes(model, features, schedule, progress)
    path = Path(cfg.work_dir) / CACHED_PROBE
    save_probe(model, path, dict(mode=MODE, seed=seed))
    return path


def check_schedule(cfg: Config) -> None:
    """Raise unless ``param_scheduler`` is what cached probes train by."""
    found = cfg.get('param_scheduler')
    one = found[0] if isinstance(found, list) and len(found) == 1 else found
    allowed = dict(type=CACHED_SCHEDULER, eta_min=0.0)
    free = ('by_epoch', 'convert_to_iter_based')
    if not isinstance(one, dict) or {k: v for k, v in one.items() if k not in free} != allowed:
        raise ValueError(
            f'param_scheduler={found}, but --cache-features trains by {allowed} only: train '
            'without the flag for another schedule'
        )


def validate_probe(cfg: Config, checkpoint: str | Path) -> None:
    """Evaluate a probe on the validation set; ``ProbeHook`` writes the results."""
    cfg.load_from, cfg.resume = str(checkpoint), False
    for key in ('train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    Runner.from_cfg(cfg).val()


@contextmanager
def _bar(text: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar as a function of (done, total)."""
    with progress_bar(unit) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
