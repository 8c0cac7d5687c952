# Generation from an isolated context, no alignment.
_base_ = '../_base_/ablations/paper.py'

model = dict(align_head=None, reference=None)
