"""The text of a proposed pretraining: short, on top of this package's bases, with its reasons.

What is decided is in :mod:`nextvid_mm.plan.proposal`; here it is only written down.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nextvid_mm.engine.stages import Stage

PAPER_MASKS = ((8, 0.15), (2, 0.7))
# What goes with clips that are shown whole: `motion` of the flow loss, and how the reference is
# normalised.
MOTION, NORMALIZED = 0.9, 'clip'


@dataclass(frozen=True)
class Choice:
    """One line of a proposal."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class Settings:
    """Everything that the three configs of a folder say.

    Attributes:
        name: of the folder; of the work directories, too.
        folder: with the videos.
        size: of the encoder, whose base config is taken for predictor and decoder.
        arch: of the encoder: a size, or a dict.
        width: channels of the encoder.
        heads: its attention heads.
        img_size: pixels per side.
        patch_size: pixels per side of a patch.
        tubelet_size: video frames of a token.
        fps: frames per second of a clip.
        num_frames: of a clip.
        masks: blocks and scale of each strategy. Without any, clips are shown whole, and losses
            look at what changes within a clip (docs/ablations.md).
        queries: ``hidden`` or ``all``.
        stages: the table.
        pictures: weight of still pictures; 0 without.
        workers: of the loader of a process.
        vavae: targets are VA-VAE latents; pooled pixels otherwise.
        on_cpu: nothing is recomputed, and bfloat16 only where it is fast.
        interval: steps between checkpoints.
        start: ``init_cfg`` of the encoder; None for new weights.
        tiled_rope: see ``CausalViT``.
        segments: clips of a labelled video that are looked at in testing.
    """

    name: str
    folder: str
    size: str
    arch: str | Mapping[str, Any]
    width: int
    heads: int
    img_size: int
    patch_size: int
    tubelet_size: int
    fps: float
    num_frames: int
    masks: Sequence[tuple[int, float]]
    queries: str
    stages: Sequence[Stage]
    pictures: float
    workers: int
    vavae: bool
    on_cpu: bool
    interval: int
    start: Mapping[str, Any] | None = None
    tiled_rope: bool = False
    segments: int = 2

    def work_dir(self, run: str) -> str:
        """Folder of ``pretrain``, ``probe`` or ``finetune``."""
        return f'work_dirs/{self.name}/{run}'

    @property
    def checkpoint(self) -> str:
        """The file that the pretraining ends with."""
        steps = sum(stage.steps for stage in self.stages)
        return f'{self.work_dir("pretrain")}/iter_{steps}.pth'

    @property
    def pool(self) -> int:
        """Side of the squares of pixels that a target averages: four or fewer to a patch."""
        patch = self.patch_size
        return min(p for p in range(1, patch + 1) if patch % p == 0 and patch // p <= 4)


def pretrain_text(given: Settings, choices: Sequence[Choice] = (), command: str = '') -> str:
    """The pretraining config.

    Args:
        given: what is written.
        choices: with their reasons, for its head.
        command: that proposed it.
    """
    reasons = [f'{choice.name}: {choice.value} ({choice.reason})' for choice in choices]
    head = comment([f'Pretraining on {given.folder}, proposed by', f'    {command}', '', *reasons])
    number = f'size, fps = {given.img_size}, {given.fps:g}'
    return f"""{head}
_base_ = [
    'nextvid_mm::_base_/models/nextvid_vit-{given.size}.py',
    'nextvid_mm::_base_/schedules/{'demo' if given.size == 'tiny' else 'paper'}_4stage.py',
    'nextvid_mm::_base_/default_runtime.py',
]

{number}
work_dir = {given.work_dir('pretrain')!r}
{_model(given)}
{_stages(given)}
{_data(given)}
default_hooks = dict(
    checkpoint=dict(interval={given.interval}),
    # Your clips, masked, and as they are generated: in TensorBoard and below the work directory.
    pictures=dict(type='GenerationVisHook', interval={given.interval}),
)
"""


def comment(lines: Sequence[str]) -> str:
    """Lines behind ``#``; what a long one goes on with is set in."""
    parts = [
        part
        for line in lines
        for part in textwrap.wrap(line, 97, subsequent_indent='    ', drop_whitespace=False) or ['']
    ]
    return '\n'.join(f'# {part}'.rstrip() for part in parts)


def _model(given: Settings) -> str:
    """Encoder, what depends on its width, and targets."""
    backbone = [
        f'arch={given.arch!r}',
        'img_size=size',
        f'patch_size={given.patch_size}',
        f'tubelet_size={given.tubelet_size}',
    ]
    if given.tiled_rope:
        backbone.append('tiled_rope=True')
    if given.start is not None:
        backbone.append(f'init_cfg={given.start!r}')
    if recompute := not given.on_cpu and given.size != 'tiny':
        backbone.append('with_cp=True')
    lines = ['    backbone=dict(', *(f'        {key},' for key in backbone), '    ),']
    saving = ', with_cp=True' if recompute else ''
    lines.append(f'    neck=dict(in_channels={given.width}{saving}),')
    reference = '' if given.masks else f', normalize_target={NORMALIZED!r}'
    lines.append(f'    align_head=dict(out_channels={given.width}{reference}),')
    decoder = [] if given.vavae else [f'target_channels={_channels(given)}']
    decoder += ['with_cp=True'] if recompute else []
    head = [] if given.masks else [f'motion={MOTION}']
    head += [f'decoder=dict({", ".join(decoder)})'] if decoder else []
    if head:
        lines.append(f'    head=dict({", ".join(head)}),')
    if not given.vavae:
        lines += ['    # Pooled pixels: targets that need no weights.', *_pixels(given)]
    lines.append(f'    queries={given.queries!r},')
    if given.on_cpu and given.size != 'tiny':
        lines.append('    compile=False,')
    return '\n'.join(['model = dict(', *lines, ')'])


def _channels(given: Settings) -> int:
    return 3 * given.tubelet_size * (given.patch_size // given.pool) ** 2


def _pixels(given: Settings) -> list[str]:
    sizes = f'patch_size={given.patch_size}, tubelet_size={given.tubelet_size}, pool={given.pool}'
    keys = ['_delete_=True', "type='PixelTarget'", sizes, 'std=0.5']
    return ['    target_generator=dict(', *(f'        {key},' for key in keys), '    ),']


def _stages(given: Settings) -> str:
    """The table, and what depends on the machine."""
    rows = []
    for stage in given.stages:
        keys = {key: value for key, value in vars(stage).items() if value is not None}
        inner = ''.join(f'            {key}={_short(value)},\n' for key, value in keys.items())
        rows.append(f'        dict(\n{inner}        ),\n')
    batch = given.stages[0].batch_size
    dtype = "optim_wrapper = dict(dtype='auto')\n" if given.on_cpu else ''
    table = ''.join(rows)
    return (
        '# The only place with horizons: tools/print_stages.py shows what they add up to.\n'
        f'train_cfg = dict(\n    stages=[\n{table}    ]\n)\n{dtype}'
        f'auto_scale_lr = dict(base_batch_size={batch})'
    )


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return f'({", ".join(f"{number:.3g}" for number in value)})'
    return f'{value:.6g}' if isinstance(value, float) else repr(value)


def _data(given: Settings) -> str:
    """Pipelines, sources and masks."""
    blocks = ', '.join(f'dict(num_blocks={n}, scale={scale})' for n, scale in given.masks)
    strategies = f'[{blocks}]' if blocks else "'none'"
    sources = _source('videos', 1 - given.pictures, 'VideoFolder', [f'folder={given.folder!r}'])
    still = ''
    if given.pictures:
        still = """image_pipeline = [
    dict(type='LoadPicture'),
    dict(type='ImageToClip'),
    *crop,
    dict(type='RepeatFrames'),
]
"""
        keys = [f'data_root={given.folder!r}', 'with_label=False']
        sources += _source('pictures', given.pictures, 'mmpretrain.CustomDataset', keys, 'image')
    rows = '\n'.join(sources)
    return f"""
crop = [
    dict(type='mmaction.RandomResizedCrop', area_range=(0.3, 1.0)),
    dict(type='mmaction.Resize', scale=(size, size), keep_ratio=False),
    # Mirrored clips are clips, too: dict(type='mmaction.Flip', flip_ratio=0.5),
]
video_pipeline = [
    dict(type='VideoInit'),
    dict(type='SampleClipByTime', fps=fps),
    dict(type='VideoDecode'),
    *crop,
]
{still}pack = [
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(
        type='FrameIsolatedMasking',
        patch_size={given.patch_size},
        strategies={strategies},
    ),
    dict(
        type='mmaction.PackActionInputs',
        algorithm_keys=('masks',),
        meta_keys=('img_shape', 'static', 'sample_seed'),
    ),
]
train_dataloader = dict(
    num_workers={given.workers},
    persistent_workers=True,
    pin_memory={not given.on_cpu},
    collate_fn=dict(type='nextvid_mm.collate_clips'),
    dataset=dict(
        type='MixtureDataset',
        sources=[
{rows}
        ],
        pipeline=pack,
    ),
)"""


def _source(
    name: str, weight: float, kind: str, keys: list[str], pipeline: str = 'video'
) -> list[str]:
    """Lines of one source of the mixture."""
    return [
        '            dict(',
        f'                name={name!r},',
        f'                weight={weight:.3g},',
        '                dataset=dict(',
        f'                    type={kind!r},',
        *(f'                    {key},' for key in keys),
        f'                    pipeline={pipeline}_pipeline,',
        '                ),',
        '            ),',
    ]
