# The demo on a grid on which the paper's masks and queries mean something: 8 x 8 patches, 8 blocks
# of 0.15 and 2 of 0.7, queries at hidden patches. Four times the tokens of the demo's 4 x 4.
_base_ = './vit-tiny_demo.py'

model = dict(
    backbone=dict(patch_size=8),
    # 2 frames x 3 colours x (8 / 2)^2 pooled pixels = 96 channels, as in the demo.
    target_generator=dict(patch_size=8, pool=2),
    queries='hidden',
)
pack = [
    dict(type='FrameIsolatedMasking', patch_size=8) if step.type == 'FrameIsolatedMasking' else step
    for step in _base_.pack
]
train_dataloader = dict(dataset=dict(pipeline=pack))
