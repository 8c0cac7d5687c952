from nextvid_mm.report.published import DATASETS, PUBLISHED


def test_every_encoder_has_an_entry_for_every_data_set():
    assert all(len(values) == len(DATASETS) for values in PUBLISHED.values())
    best = {name: PUBLISHED[name][DATASETS.index('SSv2')] for name in ('NExT-Vid-G', 'V-JEPA2-G')}
    assert best == {'NExT-Vid-G': 69.5, 'V-JEPA2-G': 75.3}
