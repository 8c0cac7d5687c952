# As table2_generation-isolation, but noisy targets attend to each other and to the condition.
_base_ = '../_base_/ablations/paper.py'

model = dict(head=dict(decoder=dict(type='CrossSelfDiT')), align_head=None, reference=None)
