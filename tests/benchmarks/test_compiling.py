from benchmarks.compiling import count_compilations, recompilations
from benchmarks.workload import Workload


def test_other_masks_compile_nothing_anew():
    """Traced, not translated: whether code is generated again follows from the trace."""
    load = Workload('tiny', frames=4, batch=1)
    report = count_compilations(load, steps=2, backend='eager')
    assert report.rows[0]['graphs so far'] > 0
    assert recompilations(report.rows) == 0
    assert len({row['loss'] for row in report.rows}) == 3
