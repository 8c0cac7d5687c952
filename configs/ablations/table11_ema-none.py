# Alignment with the encoder itself: the reference takes its weights over after every step.
_base_ = '../_base_/ablations/paper.py'

train_cfg = dict(stages=[dict(stage, ema_momentum=0.0) for stage in _base_.train_cfg.stages])
