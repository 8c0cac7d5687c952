# The full method with 4 flow times drawn per condition in every stage.
_base_ = '../_base_/ablations/paper_long.py'

train_cfg = dict(stages=[dict(stage, tau_samples=4) for stage in _base_.train_cfg.stages])
