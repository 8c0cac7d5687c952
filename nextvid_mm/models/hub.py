"""Models as folders of the Hugging Face Hub: ``save_pretrained`` and ``from_pretrained``.

A folder holds ``model.safetensors``, whose metadata say how the model is built, ``config.json``
with the same for people, and a ``README.md``. Nothing that somebody else wrote is replaced.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download
from safetensors.torch import save_file
from torch import nn

from nextvid_mm.files import replace_when_complete, write_text
from nextvid_mm.version import __version__

# Under which the metadata of a ``.safetensors`` file describe the model, as JSON.
EXPORT_KEY = 'nextvid_mm'
WEIGHTS, CONFIG = 'model.safetensors', 'config.json'
_HUB_KEYS = ('revision', 'cache_dir', 'force_download', 'local_files_only', 'token')
_CARD_END = '<!-- written by nextvid_mm; remove this line to keep your own text -->'


class HubFolder(ModelHubMixin, library_name='nextvid_mm', license='apache-2.0'):
    """Gives a model ``save_pretrained(folder)`` and ``from_pretrained(folder or name)``.

    The config is that of its arguments; ``from_pretrained`` takes arguments that replace them.
    """

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Write the folder; arguments as huggingface_hub's.

        Raises:
            ValueError: if a file of somebody else would be replaced.
        """
        for name in (WEIGHTS, CONFIG):
            require_own(Path(save_directory) / name)
        return super().save_pretrained(save_directory, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        from .checkpoints import plain_config  # which builds what stands on this class

        config = dict(type=type(self).__name__) | plain_config(self._hub_mixin_config or {})
        assert isinstance(self, nn.Module)
        key = 'backbone' if hasattr(self, 'encode_layers') else 'model'
        description = {key: config} | getattr(self, 'trained_with', {})
        write_weights(self, save_directory / WEIGHTS, description)
        text = json.dumps(dict(config, nextvid_mm=__version__), indent=2)
        write_text(save_directory / CONFIG, text + '\n')

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        **settings: Any,
    ) -> Any:
        """Build what the metadata describe, with ``settings`` in place of its own arguments."""
        from .checkpoints import open_folder

        hub = {key: settings.pop(key) for key in _HUB_KEYS if key in settings}
        folder = local_folder(model_id, **hub)
        settings.pop('type', None)
        settings.pop('nextvid_mm', None)
        model = open_folder(folder, settings)
        if not isinstance(model, cls):
            raise ValueError(f'{model_id} holds a {type(model).__name__}, not a {cls.__name__}')
        return model


def local_folder(model_id: str, **hub: Any) -> Path:
    """A folder on the disk as it is, or one of the Hub after it was fetched.

    Args:
        model_id: the folder, or its name on the Hub.
        hub: what huggingface_hub passes on to ``_from_pretrained``, such as ``revision``.
    """
    if Path(model_id).is_dir():
        return Path(model_id)
    return Path(snapshot_download(model_id, **{key: hub[key] for key in _HUB_KEYS if key in hub}))


def write_weights(
    module: nn.Module,
    path: Path,
    description: dict[str, Any],
    more: dict[str, str] | None = None,
    key: str = EXPORT_KEY,
) -> None:
    """Write a module's state as ``.safetensors``, readable by everybody its folder is open to.

    Args:
        module: the model.
        path: the file.
        description: how it is built, for the metadata.
        more: further metadata.
        key: under which the metadata hold the description.
    """
    state = {name: value.detach().contiguous() for name, value in module.state_dict().items()}
    metadata = {'format': 'pt', key: json.dumps(dict(description, version=__version__))}
    metadata |= more or {}
    with replace_when_complete(path) as temporary:
        save_file(state, temporary, metadata=metadata)


def require_own(path: str | Path) -> None:
    """Raise unless a file is absent or was written by an export of ours.

    Raises:
        ValueError: if it is somebody else's.
    """
    path = Path(path)
    if not path.exists() or _is_own(path):
        return
    raise ValueError(
        f'{path} is there and was not written by an export of nextvid_mm: move it away, or choose '
        'another name'
    )


def own_card(text: str) -> str:
    """A card with the line by which ``require_own`` knows it."""
    return f'{text.rstrip()}\n\n{_CARD_END}\n'


def _is_own(path: Path) -> bool:
    from .checkpoints import read_metadata

    try:
        if path.suffix == '.safetensors':
            return bool(read_metadata(path, EXPORT_KEY))
        text = path.read_text(encoding='utf-8')
        if path.suffix == '.json':
            return EXPORT_KEY in json.loads(text)
        return _CARD_END in text
    except Exception:  # of another kind, or unreadable: not ours
        return False
