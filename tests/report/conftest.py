import json

import pytest


@pytest.fixture
def work_dir(tmp_path):
    """A run as ``tools/train.py`` leaves it, resumed once, without a checkpoint."""
    run = tmp_path / 'run'
    stage = 'dict(name="{}", steps=2, lr=0.1, tau_samples=1, num_frames=4, batch_size=2)'
    stages = ', '.join(stage.format(name) for name in ('warm-up', 'stable'))
    for folder, steps in (('20260101_000000', (1, 2, 3)), ('20260102_000000', (3, 4))):
        target = run / folder / 'vis_data'
        target.mkdir(parents=True)
        lines = [
            json.dumps(dict(loss=float(step), lr=0.1, iter=step, step=step, note='text'))
            for step in steps
        ]
        (target / 'scalars.json').write_text('\n'.join(lines))
    # The second log tells another loss of the step that was done twice.
    again = run / '20260102_000000' / 'vis_data' / 'scalars.json'
    again.write_text(again.read_text().replace('3.0', '9.0'))
    (run / 'config.py').write_text(f"train_cfg = dict(stages=[{stages}])\nname = 'a <b> config'\n")
    return run
