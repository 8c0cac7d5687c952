# The full method with 1 flow time drawn per condition in every stage.
_base_ = '../_base_/ablations/paper_long.py'

train_cfg = dict(stages=[dict(stage, tau_samples=1) for stage in _base_.train_cfg.stages])
