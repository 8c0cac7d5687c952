# ViT-S/16 encoder: 384 channels, 12 blocks. Predictor and decoder are those of ViT-L.
_base_ = './nextvid_vit-large.py'

model = dict(
    backbone=dict(arch='small'),
    neck=dict(in_channels=384),
    align_head=dict(out_channels=384),
)
