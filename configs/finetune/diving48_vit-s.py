# As diving48.py, with ViT-S.
_base_ = './diving48.py'

model = dict(backbone=dict(arch='small'), cls_head=dict(in_channels=384, num_heads=6))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.7))
