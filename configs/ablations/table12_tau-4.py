# The full method with 4 flow times drawn per condition in every stage.
_base_ = '../_base_/ablations/{{$NEXTVID_SCALE:paper}}_long.py'

train_cfg = dict(stages=[dict(stage, tau_samples=4) for stage in _base_.train_cfg.stages])
