"""Results of three rows over seeds, made up."""

from nextvid_mm.demo.ablations import Moment, RunResult, select_rows

ROWS = select_rows('compare', ['table2_full', 'next-frame', 'untrained'])
# how at 20 % and at the end, and the processor seconds of the whole run, by seed
SCORES = {
    'table2_full': ([(20.0, 60.0), (30.0, 64.0)], 1000.0),
    'next-frame': ([(40.0, 50.0), (44.0, 55.0)], 200.0),
    'untrained': ([(30.0,), (36.0,)], 0.0),
}


def made_up_results(seeds=2, rank=9.0, scores=SCORES):
    """Two moments of each trained run; the untrained row has its end only."""
    found = []
    for name, (levels, cost) in scores.items():
        for seed in range(seeds):
            ends = (1.0,) if len(levels[seed]) == 1 else (0.2, 1.0)
            moments = [
                Moment(
                    round(1500 * part) if cost else 0, 0, cost * part, 1.0, {},
                    dict(how=value / 2, what=40.0),
                    dict(how=value, what=70.0), rank, 1.0,
                )
                for part, value in zip(ends, levels[seed], strict=True)
            ]  # fmt: skip
            found.append(RunResult(name, {}, seed, {}, moments, {}))
    return found
