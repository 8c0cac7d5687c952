"""The paper's own results, to stand beside a run's (arXiv 2512.21004, Table 1): cited, not ours."""

DATASETS = ('K400', 'IN1K', 'SSv2', 'Diving48')

#: Top-1 of attentive probes on frozen encoders, %; None where the paper gives none.
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    'NExT-Vid-L': (78.5, 76.3, 63.9, 82.7),
    'NExT-Vid-H': (80.6, 79.0, 67.0, 84.5),
    'NExT-Vid-G': (83.1, 81.4, 69.5, 87.2),
    'VideoMAE-H': (79.8, 72.3, 66.2, None),
    'VideoMAEv2-G': (71.2, 71.4, 61.2, None),
    'Toto-1B': (74.4, 75.3, None, None),
    'V-JEPA-H': (82.0, 75.9, 71.4, 87.9),
    'V-JEPA2-G': (86.6, 84.6, 75.3, 90.1),
}
