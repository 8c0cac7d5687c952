"""The page that explains a training step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from nextvid_mm.files import write_text
from nextvid_mm.visualization.figures import COLOURS, new_figure
from nextvid_mm.visualization.sheets import show_patches, tile_rows

from .page import Picture, Section, Table, drawing, photograph, render
from .step import StepInsight

_TAUS = (0.0, 0.25, 0.5, 0.75, 1.0)


def write_step_page(look: StepInsight, output: str | Path, name: str) -> Path:
    """Write one HTML file that needs nothing but itself.

    Args:
        look: from ``look_at_step``.
        output: the file.
        name: of the config.
    """
    write_text(Path(output), render(f'One step of {name}', list(sections(look))))
    return Path(output)


def sections(look: StepInsight) -> Iterator[Section]:
    """The parts of the page, in the order in which a step goes."""
    yield _clips(look)
    yield _masks(look)
    yield _networks(look)
    yield _attention(look)
    if look.target is not None:
        yield _targets(look)
    if look.features is not None:
        yield _features(look)
    if any(strategy.flow for strategy in look.strategies):
        yield _flow(look)
    yield _losses(look)
    yield _gradients(look)


def _clips(look: StepInsight) -> Section:
    stage, size = look.stage, 'x'.join(map(str, look.clip.shape[-2:]))
    text = (
        f'Step {look.step} of the run, stage “{stage.name}”: {stage.batch_size:,} clips of '
        f'{stage.num_frames} video frames, learning rate {stage.lr_at(0):g} at its first step. '
        f'Here are the first {len(look.clip)} of them, {size} pixels, cropped, flipped and masked '
        'as in training.'
    )
    keys = ('position', 'source', 'path', 'static', 'sample_seed')
    rows = [[str(info.get(key, '')) for key in keys] for info in look.batch.info]
    strips = [(f'clip {number}', clip) for number, clip in enumerate(look.clip)]
    return Section(
        'Clips', [text], [Table(keys, rows)], [photograph('every video frame', _strips(strips))]
    )


def _strips(strips: list[tuple[str, Tensor]]) -> Any:
    side = strips[0][1].shape[-1]
    return tile_rows(strips, zoom=max(1, 128 // side), gap=2)


def _masks(look: StepInsight) -> Section:
    text = [
        'A mask hides the same patches in every tubelet. Each strategy is an encoder pass and a '
        'loss of its own; all clips of a batch show equally many patches.'
    ]
    rows, strips, tubelet = [], [], look.model.backbone.tubelet_size
    for number, strategy in enumerate(look.strategies):
        visible = strategy.mask.visible
        shown = look.grid.patches if visible is None else visible.shape[1]
        asked = look.grid.patches if strategy.positions is None else strategy.positions.shape[1]
        rows.append([str(number), f'{shown}', f'{look.grid.patches - shown}', f'{asked}',
                     f'{shown / look.grid.patches:.0%}'])  # fmt: skip
        if visible is None or shown == look.grid.patches:
            continue
        masked = show_patches(look.clip, visible, look.model.backbone.patch_size)
        for clip, frames in enumerate(masked):
            strips.append((f'strategy {number}, clip {clip}', frames[:, ::tubelet]))
    header = ['strategy', 'visible', 'hidden', 'queried', 'share visible']
    table = Table(header, rows, f'patches of {look.grid.patches} in a tubelet')
    pictures = [photograph('one frame of each tubelet; hidden patches are grey', _strips(strips))]
    return Section('Masks and queries', text, [table], pictures if strips else ())


def _networks(look: StepInsight) -> Section:
    """Tokens, width and parameters of each network."""
    model, grid = look.model, look.grid
    past, k = grid.tubelets - 1, look.stage.tau_samples
    rows = []
    for number, strategy in enumerate(look.strategies):
        visible, asked = strategy.mask.visible, strategy.z.shape[2]
        shown = grid.patches if visible is None else visible.shape[1]
        name = f'strategy {number}'
        rows += [
            _network(f'encoder, {name}', model.backbone, past, shown),
            _network(f'predictor (queries), {name}', model.neck, past, asked),
        ]
        if strategy.flow is not None:
            rows.append(_network(f'decoder, {name}', model.head, past, asked, k))
    if model.reference is not None:
        reference = 'reference encoder (no gradient)'
        rows.append(_network(reference, model.reference, grid.tubelets, grid.patches))
    text = (
        'Tokens of one clip: tubelets times patches. The last tubelet is not encoded, because '
        'nothing is predicted from it, and the first is not predicted. Queries are one learned '
        'vector, told apart by their places alone.'
    )
    header = ['network', 'tubelets x patches', 'tokens a clip', 'parameters']
    return Section('Tokens of each network', [text], [Table(header, rows)])


def _network(name: str, part: nn.Module, tubelets: int, patches: int, copies: int = 1) -> list[str]:
    parameters = sum(p.numel() for p in part.parameters())
    product = f'{tubelets} x {patches}' + (f' x {copies} tau samples' if copies > 1 else '')
    return [name, product, f'{tubelets * patches * copies:,}', f'{parameters:,}']


def _attention(look: StepInsight) -> Section:
    text = (
        'Measured on the first clip by gradients: how strongly each tubelet that goes in (columns) '
        'reaches each that comes out (rows, relative to the strongest of a row). White is exactly '
        'zero. The encoder sees its own and earlier tubelets; the predictor, whose rows begin with '
        'tubelet 1, earlier ones only; the decoder one tubelet at a time.'
    )
    picture = drawing('who reads whom', _draw_influence(look))
    return Section('Attention patterns', [text], (), [replace(picture, wide=True)])


def _draw_influence(look: StepInsight) -> Figure:
    figure = new_figure(8.0, 3.0)
    for number, (name, reach) in enumerate(look.influence.items(), start=1):
        axis = figure.add_subplot(1, len(look.influence), number)
        share = reach / np.maximum(reach.max(axis=1, keepdims=True), 1e-30)
        shade = np.where(reach > 0, 0.25 + 0.75 * np.sqrt(share), 0)
        axis.imshow(shade, cmap='Blues', vmin=0, vmax=1)
        first = 0 if name == 'encoder' else 1
        axis.set_yticks(range(len(reach)), [str(t + first) for t in range(len(reach))])
        start = 1 if name == 'decoder' else 0
        axis.set_xticks(range(reach.shape[1]), [str(t + start) for t in range(reach.shape[1])])
        axis.set_title(name, fontsize=9)
        axis.set_xlabel('tubelet that goes in', fontsize=8)
        axis.tick_params(labelsize=7)
    figure.axes[0].set_ylabel('tubelet that comes out', fontsize=8)
    return figure


def _statistics(name: str, values: Tensor) -> list[str]:
    values = values.float()
    numbers = (values.mean(), values.std(), values.min(), values.max())
    return [name, *(f'{number.item():.3f}' for number in numbers)]


_STATISTICS = ('', 'mean', 'std', 'min', 'max')


def _targets(look: StepInsight) -> Section:
    target, generator = look.target, look.model.target_generator
    assert target is not None
    rows, figure = [_statistics('normalised', target)], None
    try:
        raw = generator.denormalize(target)
    except ValueError:  # statistics of each patch, which are not kept
        raw = None
    if raw is not None:
        rows.insert(0, _statistics('as encoded', raw))
        figure = drawing('values before and after normalisation', _histogram(raw, target))
    text = (
        f'{type(generator).__name__} encodes the {generator.tubelet_size} video frames of a '
        f'tubelet into {target.shape[-1]} channels of one token. Only tubelets 1 to '
        f'{look.grid.tubelets - 1} are targets. After normalisation the standard deviation should '
        'be near 1, that of the noise.'
    )
    pictures = [figure] if figure else []
    return Section('Targets of generation', [text], [Table(_STATISTICS, rows)], pictures)


def _histogram(raw: Tensor, target: Tensor) -> Figure:
    figure = new_figure()
    axis = figure.add_subplot()
    for values, name, colour in ((raw, 'as encoded', 0), (target, 'normalised', 1)):
        axis.hist(values.float().cpu().flatten().numpy()[:200_000], bins=80, histtype='step',
                  density=True, label=name, color=COLOURS[colour])  # fmt: skip
    axis.legend(fontsize=8, frameon=False)
    return figure


def _features(look: StepInsight) -> Section:
    assert look.features is not None
    project: Any = getattr(look.model.align_head, 'proj', None)
    rows = [_statistics('features', look.features)]
    for number, strategy in enumerate(look.strategies if project is not None else ()):
        with torch.no_grad():
            projected = project(strategy.z)
        rows.append(_statistics(f'projected predictions, strategy {number}', projected))
    text = (
        'Features of the reference encoder, which sees every patch of the clip; projected '
        'predictions should become equal to them.'
    )
    return Section('Targets of alignment', [text], [Table(_STATISTICS, rows)])


def _flow(look: StepInsight) -> Section:
    """Noise, noisy targets and velocities."""
    rows, times = [], []
    for number, strategy in enumerate(look.strategies):
        flow = strategy.flow
        assert flow is not None
        for name in ('data', 'noise', 'position', 'velocity', 'predicted'):
            values = getattr(flow, name)
            rows.append(_statistics(f'{name}, strategy {number}', values))
        drawn = ', '.join(f'{tau:.2f}' for tau in flow.tau[0].flatten().tolist()[:16])
        times.append([str(number), drawn])
    text = (
        'For every tubelet and tau sample, noise h0 and a time tau are drawn; the decoder gets '
        'h = (1 - tau) h0 + tau h1 beside the prediction and regresses the velocity h1 - h0. '
        'Before training it answers 0: the loss is then the mean square of the velocity.'
    )
    tables = [Table(_STATISTICS, rows), Table(['strategy', 'tau of clip 0'], times)]
    return Section('Noise and velocity', [text], tables, list(_path(look)))


@torch.no_grad()
def _path(look: StepInsight) -> Iterator[Picture]:
    """The way from noise to the first clip's targets, as pictures where targets have any."""
    assert look.target is not None
    data, generator = look.target[:1], look.model.target_generator
    noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(0)).to(data)
    grid = look.grid.with_tubelets(look.grid.tubelets - 1)
    try:
        strips = [
            (f'tau = {tau:g}', generator.to_pixels(torch.lerp(noise, data, tau), grid)[0])
            for tau in _TAUS
        ]
    except ValueError:  # features, not pictures
        return
    tubelet = look.model.backbone.tubelet_size
    yield photograph('clip 0 on its way from noise to target, decoded',
                     _strips([(name, clip[:, ::tubelet]) for name, clip in strips]))  # fmt: skip


def _losses(look: StepInsight) -> Section:
    frames, rows = look.grid.tubelets, []
    means: dict[str, list[float]] = {}
    for number, strategy in enumerate(look.strategies):
        for name, values in strategy.losses.items():
            means.setdefault(name, []).append(values.mean().item())
            shown = [f'{value:.4f}' for value in (*values.tolist(), values.mean().item())]
            rows.append([f'{name}, strategy {number}', *shown])
    header = ['loss', *(f'tubelet {t}' for t in range(1, frames)), 'mean']
    total = [
        [name, f'{sum(means[name]) / len(means[name]):.6f}', f'{look.losses[name]:.6f}']
        for name in look.losses
    ]
    total.append(['sum', f'{sum(sum(v) / len(v) for v in means.values()):.6f}',
                  f'{sum(look.losses.values()):.6f}'])  # fmt: skip
    text = (
        'Weighted losses of each predicted tubelet. Their mean over tubelets and strategies is '
        'what training logs and minimises.'
    )
    tables = [Table(header, rows), Table(['loss', 'mean of the table', 'as in training'], total)]
    return Section('Losses', [text], tables)


def _gradients(look: StepInsight) -> Section:
    total = sum(norm**2 for norm in look.grad_norms.values()) ** 0.5
    rows = [[name, f'{norm:.4f}'] for name, norm in [*look.grad_norms.items(), ('all', total)]]
    text = (
        'Norms of the gradients of these clips, before clipping. Those of a network that only '
        'starts with zeros in its last layer are small in the first steps. The reference encoder '
        'and the target generator get none.'
    )
    return Section('Gradients', [text], [Table(['network', 'gradient norm'], rows)])
