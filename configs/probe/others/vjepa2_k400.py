# Kinetics-400 by V-JEPA 2's own protocol, for its encoders at 256 px: frames and epochs as in
# k400.py, all else as in _base_/probe/vjepa2.py.
_base_ = ['../k400.py', '../../_base_/probe/vjepa2.py']

model = _base_.vjepa2
train_cfg = _base_.schedule_vjepa2

train_pipeline = [
    _base_.open_video,
    _base_.clips,
    _base_.decode,
    _base_.augment,
    *_base_.pack,
]

train_dataloader = dict(
    batch_size=256,
    dataset=dict(pipeline=train_pipeline),
)
