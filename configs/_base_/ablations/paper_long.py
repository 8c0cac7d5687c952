# As paper.py with twice the steps, 30K: what tau samples were compared at.
_base_ = './paper.py'

train_cfg = dict(stages=[dict(stage, steps=2 * stage.steps) for stage in _base_.train_cfg.stages])
