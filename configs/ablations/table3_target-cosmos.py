# Targets: Cosmos video VAE latents.
_base_ = [
    '../_base_/ablations/paper.py',
    '../_base_/targets/cosmos.py',
]

model = dict(target_generator=_base_.target_generator, head=_base_.target_head)
