"""Which rows there are, the config of each, and what the paper reports for it.

The figures are those of arXiv 2512.21004: a ViT-L after 15K steps (30K for tau samples), attentive
probes on ImageNet-1K and Something-Something v2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nextvid_mm.datasets.transforms.masking import PAPER_STRATEGIES
from nextvid_mm.plan.proposed_configs import MOTION, NORMALIZED

ABLATIONS = 'configs/ablations'
BASELINES = 'configs/baselines'
#: The row whose targets are trained on the demo's own frames first.
AUTOENCODER = f'{BASELINES}/autoencoder-target_demo.py'


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: unique; the folder of the row's runs.
        title: what the line says.
        config: pretraining config; None for an encoder that is not trained.
        paper: top-1 on ImageNet-1K and SSv2 in %, as printed ('<10'); None: no such row there.
        weights: the row needs weights that this project does not ship.
        options: overrides of the config, ``(key, value)``, of this row alone; without a config, of
            the demo's.
        rate: factor on all learning rates of its stages.
        steps: factor on its steps, of rows that are about length.
    """

    name: str
    title: str
    config: str | None
    paper: tuple[str, str] | None = None
    weights: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    rate: float = 1.0
    steps: float = 1.0

    @property
    def setting(self) -> dict[str, Any]:
        """What makes its runs other than those of another row, for their results."""
        return dict(
            config=self.config, options=dict(self.options), rate=self.rate, steps=self.steps
        )


@dataclass(frozen=True)
class Goal:
    """What the comparison was made to show.

    Attributes:
        question: ``how``, ``what`` or the mean of both, ``both``.
        row: of the table ``compare``.
        other: the row it is to be ahead of.
        points: by so many at least; 0: the interval leaves out 0.
        timed: at equal processor time, not at equal steps.
    """

    question: str
    row: Row
    other: Row
    points: float = 0.0
    timed: bool = False


def _row(name: str, title: str, paper: tuple[str, str] | None = None, weights: bool = False) -> Row:
    return Row(name, title, f'{ABLATIONS}/{name}.py', paper, weights)


# The step that masks, in the pipeline of every row.
_MASKS = 'train_dataloader.dataset.pipeline.1'
_STRATEGY = f'{_MASKS}.strategies'
# Blocks of other sizes than the demo's.
_LIGHT = ((f'{_STRATEGY}.0.scale', 0.1), (f'{_STRATEGY}.1.scale', 0.25))
_HEAVY = ((f'{_STRATEGY}.0.scale', 0.2), (f'{_STRATEGY}.1.scale', 0.5))
_HEAVIEST = ((f'{_STRATEGY}.0.scale', 0.3), (f'{_STRATEGY}.1.scale', 0.7))

_FULL = _row('table2_full', 'full method', ('75.1', '63.8'))
_NO_ALIGN = _row('table2_generation-isolation', 'no alignment', ('75.0', '58.7'))
_NO_MASKS = _row('extra_no-masking', 'no masking')
_NO_EMA = _row('table11_ema-none', 'no EMA', ('<10', '<10'))
_ONE_OF_TWO = ('73.1 *', '61.9 *')
# What configs proposed for fewer than 6 x 6 patches have.
_SMALL_GRID = Row(
    'small-grid',
    'setting for small grids',
    f'{ABLATIONS}/extra_no-masking.py',
    options=(('model.head.motion', MOTION), ('model.align_head.normalize_target', NORMALIZED)),
)
# The best setting of the table ``search``; the full method and next-frame regression have theirs.
_VIDEOMAE = Row(
    'videomae',
    'masked video regression',
    f'{BASELINES}/videomae_demo.py',
    options=((f'{_MASKS}.ratio', 0.5),),
    rate=0.2,
)
_VJEPA = Row(
    'vjepa', 'masked latent regression', f'{BASELINES}/vjepa_demo.py', options=_HEAVIEST, rate=0.2
)
_UNTRAINED = Row('untrained', 'untrained', None)
_NEXT_FRAME = Row('next-frame', 'next-frame regression', f'{BASELINES}/next-frame_demo.py')

# 8 x 8 patches, on which masks hide what was published; targets have as many channels as before.
_FINE = (('model.backbone.patch_size', 8), (f'{_MASKS}.patch_size', 8))
_FINE_TARGETS = (('model.target_generator.patch_size', 8), ('model.target_generator.pool', 2))
_PAPER_MASKS = tuple(
    (f'{_STRATEGY}.{place}.{key}', value)
    for place, strategy in enumerate(PAPER_STRATEGIES)
    for key, value in strategy.items()
)
_HIDDEN = ('model.queries', 'hidden')


def _fine(row: Row, *options: tuple[str, Any], title: str | None = None, name: str = '') -> Row:
    """A row of the demo on the finer grid, at the demo's rate."""
    return Row(
        f'{name or row.name}-8x8',
        title or row.title,
        row.config,
        options=(*_FINE, *options) if row.config else _FINE[:1],
    )


#: Factors on all learning rates.
SEARCHED_RATES = (0.2, 1.0)
# What is searched beside the learning rate: a name, and overrides, none for what a row has anyway.
# Blocks of V-JEPA's masks, published as hiding nine tenths, are only made larger.
_SEARCHED: tuple[tuple[Row, dict[str, tuple[tuple[str, Any], ...]]], ...] = (
    (_FULL, {'lighter masks': _LIGHT, 'masks': (), 'heavier masks': _HEAVY}),
    (
        _VIDEOMAE,
        {
            '8 of 16 hidden': ((f'{_MASKS}.ratio', 0.5),),
            '12 of 16 hidden': (),
            '14 of 16 hidden': ((f'{_MASKS}.ratio', 0.875),),
        },
    ),
    (
        _VJEPA,
        {
            '8 and 6 of 16 hidden': (),
            '10 and 9 of 16 hidden': _HEAVY,
            '12 of 16 hidden': _HEAVIEST,
        },
    ),
    (
        _NEXT_FRAME,
        {
            'decay 0': (('optim_wrapper.optimizer.weight_decay', 0.0),),
            'decay 0.04': (),
            'decay 0.2': (('optim_wrapper.optimizer.weight_decay', 0.2),),
        },
    ),
)  # fmt: skip


def _search() -> tuple[Row, ...]:
    """Learning rates x three settings of each method; settings of a row stand together."""
    return tuple(
        Row(
            f'search_{row.name}_rate-{rate:g}_{place}',
            f'{row.title}, {rate:g} x rate, {name}',
            row.config,
            options=options,
            rate=rate,
        )
        for row, settings in _SEARCHED
        for rate in SEARCHED_RATES
        for place, (name, options) in enumerate(settings.items())
    )


WIDTHS = (64, 96, 128, 192)
LENGTHS = (0.25, 0.5, 1.0, 2.0)


def _scaling() -> tuple[Row, ...]:
    """Encoders of four widths, on four numbers of clips, each with a whole schedule."""
    rows = []
    for width in WIDTHS:
        wide = (
            ('model.backbone.arch.embed_dims', width),
            ('model.backbone.arch.num_heads', width // 32),
            ('model.neck.in_channels', width),
            ('model.align_head.out_channels', width),
        )
        rows += [
            Row(
                f'scaling_width-{width}_length-{length:g}',
                f'width {width}, {length:g} x clips',
                _FULL.config,
                options=wide,
                steps=length,
            )
            for length in LENGTHS
        ]
    return tuple(rows)


# What the paper prints in several of its tables is one row under several titles: it is run once.
TABLES: dict[str, tuple[Row, ...]] = {
    'compare': (
        _FULL,
        _NO_MASKS,
        _SMALL_GRID,
        _NO_EMA,
        _NO_ALIGN,
        _row('extra_regression', 'regression head'),
        _VIDEOMAE,
        _VJEPA,
        _NEXT_FRAME,
        _UNTRAINED,
    ),
    'table2': (
        _row('table2_generation', 'generation', ('76.8', '61.1')),
        replace(_NO_ALIGN, title='generation + isolation'),
        _row('table2_alignment', 'alignment', ('74.7', '62.8')),
        _row('table2_alignment-isolation', 'alignment + isolation', _ONE_OF_TWO),
        _row('table2_generation-alignment', 'generation + alignment', _ONE_OF_TWO),
        _FULL,
    ),
    'table3': (
        _row('table3_target-pixel', 'pixels', ('73.5', '62.4')),
        Row('target-autoencoder', "a small autoencoder's latents", AUTOENCODER),
        _row('table3_target-siglip2', 'SigLIP 2', ('73.2', '62.5'), weights=True),
        _row('table3_target-cosmos', 'Cosmos video VAE', ('71.7', '54.8'), weights=True),
        _row('table3_target-vavae', 'VA-VAE', ('75.1', '63.8'), weights=True),
    ),
    'table4': (
        replace(_NO_ALIGN, title='masking'),
        _row('table4_masking-none', 'no masking', ('31.0', '14.7')),
    ),
    'table5': (
        replace(_NO_ALIGN, title='condition at its place'),
        _row('table5_decoder-cross-self', 'cross- and self-attention', ('72.6', '54.2')),
    ),
    'table11': (
        replace(_FULL, title='EMA reference'),
        _NO_EMA,
    ),
    'table12': (
        _row('table12_tau-4', '4 tau samples', ('79.4', '67.7')),
        _row('table12_tau-1', '1 tau sample', ('79.3', '67.1')),
    ),
    'extra': (
        _row('extra_queries-hidden', 'queries at hidden patches'),
        _row('extra_queries-all', 'queries at all patches'),
        Row(
            'mask-warm-up',
            'masks from step 151',
            _FULL.config,
            options=((f'{_MASKS}.unmasked_clips', 2400),),
        ),
        Row(
            'clip-norm',
            'reference normalised by clip',
            _FULL.config,
            options=(('model.align_head.normalize_target', 'clip'),),
        ),
        Row(
            'clip-norm-weak',
            'reference normalised by clip, 0.2 of the alignment',
            _FULL.config,
            options=(
                ('model.align_head.normalize_target', 'clip'),
                ('model.align_head.loss_weight', 0.2),
            ),
        ),
        Row(
            'motion',
            '0.9 of both losses where something moves',
            _FULL.config,
            options=(('model.head.motion', 0.9), ('model.align_head.motion', 0.9)),
        ),
    ),
    'grid': (
        _fine(_FULL, *_FINE_TARGETS, *_PAPER_MASKS, _HIDDEN),
        _fine(
            _FULL,
            *_FINE_TARGETS,
            *_PAPER_MASKS,
            title='full method, queries at all patches',
            name='queries-all',
        ),
        _fine(_NO_MASKS, *_FINE_TARGETS),
        _fine(
            _VIDEOMAE,
            ('model.target_generator.patch_size', 8),
            ('model.head.target_channels', 3 * 2 * 8 * 8),
            (f'{_MASKS}.ratio', 0.9),
        ),
        _fine(_VJEPA, *_PAPER_MASKS),
        _fine(_NEXT_FRAME, *_FINE_TARGETS),
        _fine(_UNTRAINED),
    ),
    'search': _search(),
    'scaling': _scaling(),
}
#: Of the table ``compare``.
GOALS = (
    Goal('how', _FULL, _UNTRAINED, 25.0),
    Goal('what', _FULL, _UNTRAINED, 25.0),
    *(Goal('both', _FULL, part) for part in (_NO_MASKS, _NO_EMA, _NO_ALIGN)),
    Goal('both', _FULL, _NEXT_FRAME, 5.0, timed=True),
    Goal('both', _SMALL_GRID, _NEXT_FRAME, 5.0, timed=True),
)
FOOTNOTE = '* one of these two rows: the figures could not be assigned with certainty'


def select_rows(table: str, names: Sequence[str] = ()) -> list[Row]:
    """Rows of a table, all or those named, in the table's order.

    Raises:
        ValueError: if the table or a row is unknown.
    """
    if table not in TABLES:
        raise ValueError(f'table {table!r} is unknown; choose one of {", ".join(TABLES)}')
    known = [row.name for row in TABLES[table]]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f'{table} has no rows {unknown}; it has {", ".join(known)}')
    return [row for row in TABLES[table] if not names or row.name in names]
