# The full method, predicting every patch of the next frame, visible ones too.
_base_ = '../_base_/ablations/paper.py'

model = dict(queries='all')
