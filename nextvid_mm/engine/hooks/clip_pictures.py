"""Pictures of clips with their true and predicted class."""

from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from numpy.typing import NDArray
from torch import Tensor

from nextvid_mm.registry import HOOKS


@HOOKS.register_module()
class ClipVisualizationHook(Hook):
    """MMAction2's ``VisualizationHook`` for clips, with the same keys and flags.

    MMAction2 1.2.0's own hands its visualizer an argument that does not exist there, and expects
    inputs without a dimension for several clips. Here a picture shows evenly spread frames of a
    sample's first clip above the classes.

    Args:
        enable: Draw at all; ``--show`` and ``--show-dir`` of ``tools/test.py`` set it.
        interval: Draw every n-th sample of each process.
        show: Open a window.
        wait_time: Seconds a window stays open; 0 waits for a key.
        out_dir: Folder of the pictures; None gives them to the visualizer's backends.
        frames: Frames shown of a clip.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        enable: bool = False,
        interval: int = 5000,
        show: bool = False,
        wait_time: float = 2.0,
        out_dir: str | None = None,
        frames: int = 8,
    ) -> None:
        self.enable, self.interval = enable, interval
        self.show, self.wait_time = show, wait_time
        self.out_dir, self.frames = out_dir, frames
        self._seen = 0

    def before_test_epoch(self, runner: Runner) -> None:
        """Start counting."""
        self._seen = 0

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw what the interval asks for."""
        first, self._seen = self._seen, self._seen + len(outputs)
        if not self.enable:
            return
        for number in range(-first % self.interval, len(outputs), self.interval):
            self._draw(runner, data_batch['inputs'][number], outputs[number])

    def _draw(self, runner: Runner, clip: Tensor, sample: Any) -> None:
        visualizer = runner.visualizer
        visualizer.set_image(frame_strip(clip, self.frames))
        score = float(sample.pred_score[sample.pred_label])
        text = f'true {int(sample.gt_label)}, predicted {int(sample.pred_label)} ({score:.2f})'
        # A row of its own below the frames.
        visualizer.draw_texts(
            text, np.array([4, visualizer.height - 4]), vertical_alignments='bottom', colors='w'
        )
        picture = visualizer.get_image()
        name = f'{sample.metainfo["sample_idx"]:06d}_{Path(sample.metainfo["path"]).stem}'
        if self.show:
            visualizer.show(picture, win_name=name, wait_time=self.wait_time)
        if self.out_dir is not None:
            mmcv.imwrite(picture[..., ::-1], str(Path(self.out_dir) / f'{name}.png'))
        elif not self.show:
            visualizer.add_image(name, picture)


def frame_strip(clip: Tensor, count: int, text_height: int = 24) -> NDArray[np.uint8]:
    """Evenly spread frames side by side above an empty row for text.

    Args:
        clip: ``(M, 3, T, height, width)``, of which the first clip is shown, or an image
            ``(3, height, width)``; uint8 RGB.
        count: most frames shown.
        text_height: pixels of the row.

    Returns:
        ``(height + text_height, frames * width, 3)``.
    """
    frames = clip[0].movedim(1, 0) if clip.dim() == 5 else clip[None]
    places = np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int).tolist()
    strip = np.concatenate([frames[place].permute(1, 2, 0).numpy() for place in places], axis=1)
    return np.pad(strip, ((0, text_height), (0, 0), (0, 0)))
