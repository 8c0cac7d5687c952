"""MMEngine's backends for wandb and MLflow, with pictures and the training's own steps.

They have MMEngine's names and arguments, and come first where our scope is the default.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import mmengine.visualization as theirs
import numpy as np

from nextvid_mm.data_checks import one_line
from nextvid_mm.files import shown
from nextvid_mm.registry import VISBACKENDS

_LONGEST = 500  # characters of a parameter that every MLflow store takes
_PATIENCE = 5.0  # seconds for a server to answer; MLflow itself tries for minutes


@VISBACKENDS.register_module()
class WandbVisBackend(theirs.WandbVisBackend):
    """MMEngine's ``WandbVisBackend``, whose curves run over optimiser steps, not over calls.

    ``init_kwargs=dict(mode='offline')`` needs no server and no account. Arguments are MMEngine's.
    """

    def __init__(self, save_dir: str, define_metric_cfg: Any = None, **settings: Any):
        steps = [dict(name='*', step_metric='step')]
        super().__init__(save_dir, define_metric_cfg=define_metric_cfg or steps, **settings)

    def _init_env(self) -> None:
        """Begin the run.

        Raises:
            ConnectionError: if it does not begin, for want of a server or an account.
        """
        try:
            super()._init_env()
        except ImportError:
            raise
        except Exception as error:  # wandb has many kinds of its own
            raise ConnectionError(
                f'WandbVisBackend: wandb does not begin a run: {one_line(error)}; '
                "init_kwargs=dict(mode='offline') of the backend needs no server and no account"
            ) from error

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Log a picture of a step."""
        wandb = self.experiment
        wandb.log({name: wandb.Image(image), 'step': step}, commit=self._commit)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Log a number of a step."""
        self.add_scalars({name: value}, step)

    def add_scalars(
        self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Log the numbers of a step."""
        self.experiment.log(dict(scalar_dict, step=step), commit=self._commit)

    def close(self) -> None:
        """End the run; MMEngine calls a function that wandb no longer has."""
        if hasattr(self, '_wandb'):
            self._wandb.finish()


@VISBACKENDS.register_module()
class MLflowVisBackend(theirs.MLflowVisBackend):
    """MMEngine's ``MLflowVisBackend``, whose pictures are files of their steps.

    Without ``tracking_uri`` it writes into the run's own folder. Arguments are MMEngine's.
    """

    def _init_env(self) -> None:
        """Allow a store in a folder, which MLflow 3 refuses unless it is told so.

        Raises:
            ConnectionError: if no server answers.
        """
        if self._tracking_uri is None:
            os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
        elif str(self._tracking_uri).startswith(('http://', 'https://')):
            _require_server(str(self._tracking_uri))
        super()._init_env()

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Log a picture as ``NAME_STEP.png``: MLflow wants an ending."""
        self.experiment.log_image(np.asarray(image), f'{name}_{step:08d}.png')

    def _flatten(self, d: Mapping, parent_key: str = '', sep: str = '.') -> dict:
        """Parameters as text that MLflow takes; the whole config is there as a file."""
        found: dict[str, str] = {}
        for key, value in d.items():
            name = f'{parent_key}{sep}{key}' if parent_key else str(key)
            if isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
                value = dict(enumerate(value))
            if isinstance(value, Mapping):
                found |= self._flatten(value, name, sep)
            else:
                found[name] = str(value)[:_LONGEST]
        return found


def _require_server(address: str) -> None:
    parts = urlsplit(address)
    try:
        port = parts.port or (443 if parts.scheme == 'https' else 80)
        socket.create_connection((parts.hostname or '', port), _PATIENCE).close()
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f'MLflowVisBackend: no server answers at tracking_uri={shown(address)!r} '
            f'({one_line(error)}): start it, or leave tracking_uri out to write into a folder'
        ) from error
