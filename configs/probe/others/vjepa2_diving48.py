# Diving48 by V-JEPA 2's own protocol, for its encoders at 256 px: frames and epochs as in
# diving48.py, all else as in _base_/probe/vjepa2.py.
_base_ = ['../diving48.py', '../../_base_/probe/vjepa2.py']

# ViT-g has 40 layers: model.layers=[24,29,34,39].
model = dict(_base_.vjepa2, last_layers=1, layers=[17, 19, 21, 23])
train_cfg = _base_.schedule_vjepa2

train_pipeline = [
    _base_.open_video,
    _base_.clips,
    _base_.decode,
    _base_.augment,
    *_base_.pack,
]

train_dataloader = dict(
    batch_size=128,
    dataset=dict(pipeline=train_pipeline),
)
