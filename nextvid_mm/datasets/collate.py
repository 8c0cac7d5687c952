"""Makes a batch of tensors from the samples of a mixture.

Python objects end here. The pixels of a batch are one tensor, and so are the masks of a strategy:
in a worker process they are stacked directly in shared memory, so that few pieces cross the
process border, and one asynchronous copy brings each to the device.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate

from nextvid_mm.layers import BatchMask, ClipBatch
from nextvid_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_clips(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack what ``mmaction.PackActionInputs`` has packed.

    Args:
        samples: for each clip ``inputs``, uint8 ``(1, 3, T_video, height, width)``, and
            ``data_samples`` with ``masks`` (of ``FrameIsolatedMasking`` or another transform),
            perhaps a cached ``target``, and meta fields such as ``sample_seed``.

    Returns:
        ``inputs`` ``(B, 1, 3, T_video, height, width)`` and ``data_samples``, a ``ClipBatch``.

    Raises:
        ValueError: if clips or cached targets of a batch differ in shape; names a file.
    """
    data = [sample['data_samples'] for sample in samples]
    info = [dict(sample.metainfo) for sample in data]
    drawn = [sample.masks for sample in data if 'masks' in sample]
    masks = [
        BatchMask(*(default_collate([mask[key] for mask in same]) for key in ('visible', 'hidden')))
        for same in zip(*drawn, strict=True)
    ]
    targets, target = [sample.target for sample in data if 'target' in sample], None
    if targets:  # (B, T-1, N, C); those of still clips are stored once
        longest = max(map(len, targets))
        spread = [t.expand(longest, -1, -1) if len(t) == 1 else t for t in targets]
        target = _stack(spread, info, 'cached target')
    batch = ClipBatch.of(info, masks, target)
    return dict(inputs=_stack([s['inputs'] for s in samples], info, 'clip'), data_samples=batch)


def _stack(tensors: list[Tensor], info: Sequence[dict[str, Any]], what: str) -> Tensor:
    for tensor, clip in zip(tensors, info, strict=True):
        if tensor.shape != tensors[0].shape:
            raise ValueError(
                f'the {what} of {clip.get("path")} has shape {tuple(tensor.shape)}, another of its '
                f'batch, {info[0].get("path")}, {tuple(tensors[0].shape)}: the pipelines of all '
                'sources must end in one size'
            )
    return default_collate(tensors)
