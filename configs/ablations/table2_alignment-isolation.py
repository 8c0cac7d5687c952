# Alignment of predictions from an isolated context, nothing is generated.
_base_ = '../_base_/ablations/paper.py'

model = dict(head=None, target_generator=None)
