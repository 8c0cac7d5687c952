"""A page about one's own videos as an encoder sees them: alike, twice there, like no other.

Shape legend: n files, C channels.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image
from torch import Tensor

from nextvid_mm.datasets.clip_shards import opened
from nextvid_mm.datasets.listed_clips import COLUMNS, ListedClip
from nextvid_mm.datasets.video.files import format_line, is_image
from nextvid_mm.datasets.video.pictures import load_picture
from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.evaluation.similarity import clusters, directions, loneliness, nearest, twins
from nextvid_mm.files import write_text
from nextvid_mm.inferencers.media import Media, fit
from nextvid_mm.lettering import lettering
from nextvid_mm.visualization.figures import COLOURS, FEWEST, new_figure, project

from .page import Picture, Section, Strip, drawing, photograph, render

THUMBNAIL = 112  # pixels
OUTLIER = 3.5  # robust standard deviations
_SHOWN_GROUPS, _SHOWN_TWINS, _SHOWN_LONERS, _SHOWN_OF_CLUSTER = 24, 8, 16, 8
_MAP, _MAP_PICTURES = 1500, 100  # points of a map, and how many of them are pictures


@dataclass(frozen=True)
class Settings:
    """What the page shows.

    Attributes:
        neighbours: shown of each query.
        clusters: of k-means; None for the root of half of the files, 2 to 12.
        same: cosine from which two files count as the same.
        seed: of clusters and map.
    """

    neighbours: int = 6
    clusters: int | None = None
    same: float = 0.99
    seed: int = 0


@lettering()
def write_exploration(
    folder: str | Path,
    features: Mapping[str, Tensor],
    queries: Sequence[str] = (),
    media: Mapping[str, Media] | None = None,
    entries: Mapping[str, ListedClip] | None = None,
    settings: Settings | None = None,
) -> dict[str, Path]:
    """Write ``explore.html`` and lists that all tools read.

    ``duplicates.txt`` names every file that is the same as one before it, ``outliers.txt`` those
    that are like no other, ``without_duplicates.txt`` all files but the duplicates; ``.csv`` where
    there are parts of videos or of tar files.

    Args:
        folder: where to.
        features: ``(C,)`` by name, of the files and of queries from elsewhere.
        queries: names whose neighbours are shown; none takes six of the files.
        media: the files by name; None takes all of ``features``, whose names are their paths.
        entries: what a list says of a file, by its name; None writes the paths.
        settings: see the class.

    Returns:
        The files by their names.

    Raises:
        ValueError: for fewer than two files, or a cosine that is none.
    """
    settings, folder = settings or Settings(), Path(folder)
    media = {name: name for name in features} if media is None else media
    if not 0 < settings.same <= 1:
        raise ValueError(f'--same {settings.same:g} is no cosine above 0 up to 1')
    paths = list(media)
    rows = torch.stack([features[name] for name in paths]).float() if paths else torch.empty(0, 1)
    units = directions(rows)
    groups, lone = twins(units, settings.same), loneliness(rows)
    count = settings.clusters or min(12, max(2, round(math.sqrt(len(paths) / 2))))
    parts = clusters(units, count, settings.seed)
    if not queries:
        queries = [paths[n] for n in np.linspace(0, len(paths) - 1, 6).astype(int)]
        queries = list(dict.fromkeys(queries))
    asked = torch.stack([features[name] for name in queries]).float()
    shown = {name: name for name in queries} | dict(media)
    sections = [
        _neighbours(shown, paths, units, queries, directions(rows, asked), settings.neighbours),
        _clusters(media, parts),
        _twins(media, units, groups, settings.same),
        _loners(media, lone),
    ]
    if len(paths) >= FEWEST:
        sections.insert(2, _map(media, rows, parts, settings.seed))
    written = _write_lists(folder, paths, units, groups, lone, entries or {})
    page = folder / 'explore.html'
    write_text(page, render(f'{len(paths)} files as an encoder sees them', sections))
    return dict(page=page, **written)


def _neighbours(
    shown: Mapping[str, Media],
    paths: Sequence[str],
    units: Tensor,
    queries: Sequence[str],
    asked: Tensor,
    k: int,
) -> Section:
    """Each query beside those most like it."""
    values, numbers = nearest(units, asked, k + 1)
    strips = []
    for query, cosines, near in zip(queries, values.tolist(), numbers.tolist(), strict=True):
        found = [(paths[n], c) for n, c in zip(near, cosines, strict=True) if paths[n] != query]
        thumbs = [_thumb(shown[query], 'asked for')]
        thumbs += [_thumb(shown[path], f'{cosine:.3f}') for path, cosine in found[:k]]
        strips.append(Strip(f'Nearest to {query}', thumbs))
    text = 'The number is the cosine of the centred features: 1 for the same, 0 for unrelated.'
    return Section('Neighbours', [text], strips=strips)


def _clusters(media: Mapping[str, Media], parts: Sequence[Sequence[int]]) -> Section:
    """The middle of each cluster."""
    paths = list(media.values())
    strips = [
        Strip(
            f'Cluster {number}: {len(part)} files',
            [_thumb(paths[n], f'cluster {number}') for n in part[:_SHOWN_OF_CLUSTER]],
        )
        for number, part in enumerate(parts, start=1)
    ]
    return Section('Clusters', ['By k-means; the files nearest to each centre.'], strips=strips)


def _map(
    media: Mapping[str, Media], rows: Tensor, parts: Sequence[Sequence[int]], seed: int
) -> Section:
    """t-SNE: dots in the colours of the clusters, some of them pictures."""
    paths = list(media.values())
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _MAP)).astype(int))
    points = project(rows[chosen].numpy(), seed)
    cluster = np.zeros(len(paths), dtype=int)
    for number, part in enumerate(parts):
        cluster[list(part)] = number
    figure: Figure = new_figure(9, 7)
    axis = figure.add_subplot()
    colours = [COLOURS[n % len(COLOURS)] for n in cluster[chosen]]
    axis.scatter(points[:, 0], points[:, 1], s=14, c=colours, linewidths=0)
    for place in np.random.default_rng(seed).permutation(len(chosen))[:_MAP_PICTURES]:
        picture = OffsetImage(np.asarray(thumbnail(paths[chosen[place]])), zoom=0.2)
        frame = dict(edgecolor=colours[place], linewidth=1.2, boxstyle='square,pad=0.05')
        axis.add_artist(AnnotationBbox(picture, tuple(points[place]), pad=0.05, bboxprops=frame))
    axis.set_xticks([])
    axis.set_yticks([])
    caption = f'Map of {len(chosen)} files by t-SNE, framed in the colour of their cluster'
    drawn = drawing(caption, figure)
    return Section('Map', pictures=[Picture(caption, drawn.uri, drawing=False, wide=True)])


def _twins(
    media: Mapping[str, Media], units: Tensor, groups: Sequence[Sequence[int]], same: float
) -> Section:
    """Files that are there more than once."""
    paths, strips = list(media.values()), []
    for group in groups[:_SHOWN_GROUPS]:
        shown = [_thumb(paths[group[0]], 'the first')]
        for n in group[1:_SHOWN_TWINS]:
            shown.append(_thumb(paths[n], f'{float(units[n] @ units[group[0]]):.3f}'))
        strips.append(Strip(f'{len(group)} files', shown))
    more = sum(len(group) - 1 for group in groups)
    text = (
        f'{more} files are the same as one before them, in {len(groups)} groups: cosines of '
        f'{same:g} and more. Look before you delete: an encoder may not see what differs.'
    )
    return Section('Duplicates', [text], strips=strips)


def _loners(media: Mapping[str, Media], lone: np.ndarray) -> Section:
    """Files that are like no other."""
    paths = list(media.values())
    order = np.argsort(-lone, kind='stable')[:_SHOWN_LONERS]
    shown = [_thumb(paths[n], f'{lone[n]:.1f}') for n in order]
    text = (
        'How far a file is from its five nearest others, in robust standard deviations above the '
        f'median. {int((lone > OUTLIER).sum())} are above {OUTLIER}.'
    )
    return Section('Outliers', [text], strips=[Strip('Farthest from all others', shown)])


def _write_lists(
    folder: Path,
    paths: Sequence[str],
    units: Tensor,
    groups: Sequence[Sequence[int]],
    lone: np.ndarray,
    entries: Mapping[str, ListedClip],
) -> dict[str, Path]:
    """The lists, with reasons: a pair of sentence and file number a line."""
    double = [
        (f'{float(units[n] @ units[group[0]]):.4f} {format_line(paths[group[0]])}', n)
        for group in groups
        for n in group[1:]
    ]
    order = np.argsort(-lone, kind='stable').tolist()
    single = [(f'{lone[n]:.1f}', n) for n in order if lone[n] > OUTLIER]
    again = {n for _, n in double}
    kept = [('', n) for n in range(len(paths)) if n not in again]
    clips = [entries.get(name) or ListedClip(name) for name in paths]
    table = any(clip.segment or clip.part for clip in clips)
    found = {}
    for name, rows in dict(duplicates=double, outliers=single, without_duplicates=kept).items():
        found[name] = folder / f'{name}.{"csv" if table else "txt"}'
        chosen = [(reason, clips[n]) for reason, n in rows]
        write_text(found[name], _as_table(chosen) if table else _as_list(chosen))
    return found


def _as_list(rows: Sequence[tuple[str, ListedClip]]) -> str:
    lines = []
    for reason, clip in rows:
        lines += [f'# {reason}'] if reason else []
        lines.append(format_line(clip.path, clip.label if clip.label >= 0 else None))
    return ''.join(f'{line}\n' for line in lines)


def _as_table(rows: Sequence[tuple[str, ListedClip]]) -> str:
    columns = [name for name in COLUMNS if name in ListedClip._fields]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow([*columns, 'reason'])
    for reason, clip in rows:
        values = (getattr(clip, name) for name in columns)
        writer.writerow(['' if v in (-1, '') or v != v else v for v in values] + [reason])
    return text.getvalue()


def _thumb(media: Media, words: str) -> Picture:
    name = Path(str(media)).name
    return photograph(f'{name}: {words}', thumbnail(media), wide=False)


@lru_cache(4096)
def thumbnail(media: Media) -> Image.Image:
    """The middle frame of a video or of a part of one, or a picture; grey if it is gone."""
    clip = media if isinstance(media, ListedClip) else ListedClip(media)
    try:
        if is_image(clip.path):
            picture = load_picture(opened(clip))
        else:
            with VideoReader(opened(clip)) as video:
                start, end = clip.segment or (0.0, None)
                middle = (start + (end or video.duration)) / 2
                picture = video.frames_at([middle]).frames[0]
    except Exception:  # decoders raise whatever they like; the features were read before
        return Image.new('RGB', (THUMBNAIL, THUMBNAIL), 'grey')
    return Image.fromarray(fit(picture, THUMBNAIL))
