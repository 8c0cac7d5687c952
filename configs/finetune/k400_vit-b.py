# As k400.py, with ViT-B.
_base_ = './k400.py'

model = dict(backbone=dict(arch='base'), cls_head=dict(in_channels=768, num_heads=12))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.7))
