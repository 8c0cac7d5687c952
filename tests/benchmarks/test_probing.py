from benchmarks.probing import ProbeStep, compare_probing
from benchmarks.workload import Workload

LOAD = Workload('tiny', frames=4, batch=2)


def test_a_grid_is_compared_with_its_members_in_turn():
    report = compare_probing(LOAD, num_classes=3, repeats=1, lrs=(1e-3,), weight_decays=(0.1, 0.2))
    assert [row['what'] for row in report.rows] == [
        'encoder, frozen',
        'one probe',
        'grid of 2',
        '2 probes in turn',
    ]


def test_a_training_step_learns():
    step = ProbeStep(LOAD, 2, (1e-2,), (0.0,), 'cpu')
    head = step.model.cls_head
    losses = []
    for _ in range(4):
        losses.append(head.loss_by_feat(head(step.tokens), step.labels)['loss_cls'].item())
        step.train()
    assert losses[-1] < losses[0]
