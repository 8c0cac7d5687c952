# Targets: pixels, pooled 4x4.
_base_ = [
    '../_base_/ablations/paper.py',
    '../_base_/targets/pixel.py',
]

model = dict(target_generator=_base_.target_generator, head=_base_.target_head)
