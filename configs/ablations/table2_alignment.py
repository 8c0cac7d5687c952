# Alignment only, context and queries in one sequence.
_base_ = '../_base_/ablations/paper.py'

model = dict(neck=dict(type='JointPredictor'), head=None, target_generator=None)
