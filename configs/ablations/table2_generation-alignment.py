# Generation and alignment without context isolation.
_base_ = '../_base_/ablations/paper.py'

model = dict(neck=dict(type='JointPredictor'))
