# Targets: SigLIP 2 features.
_base_ = [
    '../_base_/ablations/paper.py',
    '../_base_/targets/siglip2.py',
]

model = dict(target_generator=_base_.target_generator, head=_base_.target_head)
