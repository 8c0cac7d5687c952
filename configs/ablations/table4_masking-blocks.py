# Generation from an isolated context; the encoder sees unhidden patches only.
_base_ = '../_base_/ablations/paper.py'

model = dict(align_head=None, reference=None)
