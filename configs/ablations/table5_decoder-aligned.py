# Generation from an isolated context; each noisy target is given the condition at its place.
_base_ = '../_base_/ablations/paper.py'

model = dict(align_head=None, reference=None)
