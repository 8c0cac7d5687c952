# The full method, predicting the hidden patches of the next frame only.
_base_ = '../_base_/ablations/paper.py'

model = dict(queries='hidden')
