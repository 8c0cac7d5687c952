"""Figures of a report without a screen: curves over stages, masks, maps of features.

Shape legend: n clips, C channels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray
from PIL import Image

from nextvid_mm.lettering import drawable

#: Colours that stay apart also for people who see no red or no green (Okabe and Ito).
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#999999')
_MASK_COLOURS = ListedColormap([COLOURS[0], 'white'])  # hidden, visible
#: Clips of which a map can be drawn.
FEWEST = 4
_MAX_NAMES = 24
_MARKERS = 'osD^v<>P*Xph'
_ONLINE_PROBE = 'probe/'


def new_figure(width: float = 5.2, height: float = 2.6) -> Figure:
    """An empty figure of ``width`` x ``height`` inches that needs no display."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def figure_image(figure: Figure, dpi: int = 150) -> Image.Image:
    """Render a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=dpi)
    return Image.open(buffer).convert('RGB')


def data_uri(image: Image.Image, quality: int | None = None) -> str:
    """A picture as a ``data:`` address.

    Args:
        image: the picture.
        quality: of JPEG, for photographs; None for lossless PNG, best for curves.
    """
    buffer = io.BytesIO()
    kind = 'png' if quality is None else 'jpeg'
    options = dict(optimize=True) if quality is None else dict(quality=quality)
    image.convert('RGB').save(buffer, format=kind, **options)
    return f'data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}'


class Series(NamedTuple):
    """One logged quantity."""

    steps: list[int]
    values: list[float]


class Panel(NamedTuple):
    """What is drawn into one picture."""

    title: str
    names: tuple[str, ...]
    log_scale: bool = False


#: Pictures of a report; a panel of which nothing was logged is left out.
PANELS = (
    Panel('Losses (weighted)', ('loss', 'loss_flow', 'loss_align'), log_scale=True),
    Panel('Learning rate per group', ('lr', 'flow_lr')),
    Panel('Gradient norm before clipping', ('grad_norm',), log_scale=True),
    Panel('Effective rank of the features', ('feature_rank', 'reference_rank')),
    Panel('Standard deviation of the features', ('feature_std', 'reference_std')),
    Panel('Distance of the reference encoder', ('ema_distance',)),
    Panel('Throughput (clips per second)', ('clips_per_s',)),
)


def draw_panels(
    scalars: Mapping[str, Series], spans: Sequence[tuple[str, int, int]] = ()
) -> list[tuple[str, Figure]]:
    """Draw every panel something was logged for.

    Args:
        scalars: logged quantities by name.
        spans: name, first and last step of each stage.

    Returns:
        Pairs of title and figure. Accuracies of online probes (names beginning with ``probe/``)
        come last.
    """
    online = tuple(sorted(name for name in scalars if _ONLINE_PROBE in name))
    panels = [*PANELS, Panel('Online probes of the frozen encoder', online)]
    return [
        (panel.title, draw_panel(panel, scalars, spans))
        for panel in panels
        if any(name in scalars for name in panel.names)
    ]


def draw_panel(
    panel: Panel, scalars: Mapping[str, Series], spans: Sequence[tuple[str, int, int]]
) -> Figure:
    """Draw the curves of one panel over the stages."""
    present = {name: scalars[name] for name in panel.names if name in scalars}
    log_scale = panel.log_scale and all(min(series.values) > 0 for series in present.values())
    figure = draw_lines('optimiser step', '', present, log_scale)
    _shade(figure.axes[0], spans)
    return figure


def draw_lines(
    x_label: str,
    y_label: str,
    lines: Mapping[str, tuple[Sequence, Sequence]],
    log_scale: bool = False,
) -> Figure:
    """A picture of a few named lines ``(x values, y values)``; dots where there are one or two."""
    figure = new_figure()
    axis = figure.add_subplot()
    for (name, (xs, ys)), colour in zip(lines.items(), COLOURS * len(lines), strict=False):
        marker = 'o' if len(xs) < 3 else None
        axis.plot(xs, ys, label=name, color=colour, linewidth=1.4, marker=marker)
    if log_scale:
        _scale_by_powers(axis)
    axis.set_xlabel(x_label, fontsize=8)
    axis.set_ylabel(y_label, fontsize=8)
    axis.tick_params(labelsize=8, which='both')
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False)
    return figure


def _scale_by_powers(axis: Axes) -> None:
    """A logarithmic axis whose numbers are plain text: formulas are off, see ``lettering``."""
    axis.set_yscale('log')
    low, high = axis.get_ylim()
    plain = FuncFormatter(lambda value, _: f'{value:g}')
    axis.yaxis.set_major_formatter(plain)
    axis.yaxis.set_minor_formatter(plain if high < 12 * low else NullFormatter())


def _shade(axis: Axes, spans: Sequence[tuple[str, int, int]]) -> None:
    """Shade every other stretch of steps and write its name above it."""
    place: dict[str, Any] = dict(ha='center', va='bottom', transform=axis.get_xaxis_transform())
    for number, (name, first, last) in enumerate(spans):
        axis.axvspan(first, last, color='#8899aa', alpha=0.18 if number % 2 else 0.07, lw=0)
        axis.text((first + last) / 2, 1.01, name, fontsize=7.5, color='#555555', **place)


def draw_masks(masking: Any, grid: tuple[int, int], draws: int, rng: np.random.Generator) -> Figure:
    """Draw some masks of every strategy, one strategy per row; hidden patches are blue.

    Args:
        masking: a ``FrameIsolatedMasking``.
        grid: patches of a frame (rows, columns).
        draws: masks per strategy.
        rng: source of randomness.
    """
    rows, columns = grid
    strategies = len(masking.num_visible(grid))
    figure = new_figure(0.75 * draws, 0.8 * strategies)
    samples = [masking.sample(grid, rng) for _ in range(draws)]
    for number in range(strategies):
        for place, masks in enumerate(samples):
            seen = np.zeros(rows * columns)
            seen[masks[number]['visible'].numpy()] = 1
            axis = figure.add_subplot(strategies, draws, number * draws + place + 1)
            axis.pcolormesh(
                seen.reshape(rows, columns)[::-1],
                cmap=_MASK_COLOURS,
                vmin=0,
                vmax=1,
                edgecolors='#999999',
                linewidth=0.3,
            )
            axis.set_aspect('equal')
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def project(features: NDArray[np.floating], seed: int = 0) -> NDArray[np.floating]:
    """t-SNE of standardised features ``(n, C)`` to ``(n, 2)``; the same seed gives the same map.

    Raises:
        ValueError: for fewer than :data:`FEWEST` clips.
    """
    if len(features) < FEWEST:
        raise ValueError(f'a map of features needs at least {FEWEST} clips, found {len(features)}')
    from sklearn.manifold import TSNE

    spread = features.std(axis=0, keepdims=True) + 1e-6
    centred = (features - features.mean(axis=0, keepdims=True)) / spread
    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, init='pca', random_state=seed).fit_transform(centred)


def draw_feature_map(
    points: NDArray[np.floating], labels: Sequence[int], names: Sequence[str]
) -> Figure:
    """Draw projected features.

    Args:
        points: ``(n, 2)``.
        labels: class of each point.
        names: names of the classes; with more than 24, none is written.
    """
    figure = new_figure(4.4, 4.8)
    axis = figure.add_subplot()
    classes = np.asarray(labels)
    for label, name in enumerate(names):
        x, y = points[classes == label].T
        marker = _MARKERS[label % len(_MARKERS)]
        colour = colormaps['tab10'](label % 10)
        axis.scatter(x, y, s=16, color=colour, marker=marker, label=drawable(name), linewidths=0)
    axis.set_xticks([])
    axis.set_yticks([])
    if len(names) <= _MAX_NAMES:
        figure.legend(loc='outside lower center', ncols=3, fontsize=8.5, frameon=False)
    return figure
