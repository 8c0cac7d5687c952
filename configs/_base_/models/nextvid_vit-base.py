# ViT-B/16 encoder: 768 channels, 12 blocks. Predictor and decoder are those of ViT-L.
_base_ = './nextvid_vit-large.py'

model = dict(
    backbone=dict(arch='base'),
    neck=dict(in_channels=768),
    align_head=dict(out_channels=768),
)
