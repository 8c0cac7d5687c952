# ViT-G/16 encoder: arXiv 2512.21004, Table 7. Predictor and decoder are those of ViT-L.
_base_ = './nextvid_vit-large.py'

model = dict(
    backbone=dict(arch='giant'),
    neck=dict(in_channels=1408),
    align_head=dict(out_channels=1408),
)
