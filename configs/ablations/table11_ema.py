# The full method: alignment with a moving average of the encoder.
_base_ = '../_base_/ablations/paper.py'
