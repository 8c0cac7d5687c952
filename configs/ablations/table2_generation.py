# Generation only: context and queries in one sequence, no alignment.
_base_ = '../_base_/ablations/paper.py'

model = dict(neck=dict(type='JointPredictor'), align_head=None, reference=None)
