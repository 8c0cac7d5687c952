"""Curves of a training run, with its stages shaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from .figures import COLOURS, new_figure, shade_spans


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
_ONLINE_PROBE = 'probe/'


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
    figure = new_figure()
    axis = figure.add_subplot()
    present = [name for name in panel.names if name in scalars]
    for name, colour in zip(present, COLOURS * len(present), strict=False):
        series = scalars[name]
        marker = 'o' if len(series.steps) < 3 else None
        axis.plot(
            series.steps, series.values, label=name, color=colour, linewidth=1.4, marker=marker
        )
    if panel.log_scale and all(min(scalars[name].values) > 0 for name in present):
        axis.set_yscale('log')
    axis.set_xlabel('optimiser step', fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    shade_spans([axis], spans)
    axis.legend(fontsize=8, frameon=False)
    return figure


def draw_lines(
    title: str, x_label: str, y_label: str, lines: Mapping[str, tuple[Sequence, Sequence]]
) -> Figure:
    """A plain picture of a few named lines ``(x values, y values)``."""
    figure = new_figure()
    axis = figure.add_subplot()
    for (name, (xs, ys)), colour in zip(lines.items(), COLOURS, strict=False):
        axis.plot(xs, ys, label=name, color=colour, linewidth=1.4)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(x_label, fontsize=8)
    axis.set_ylabel(y_label, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False)
    return figure
