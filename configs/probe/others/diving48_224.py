# Diving48 with a published encoder of 224 px (VideoMAE, image ViTs), as
# tools/convert_checkpoint.py writes it: frames as in diving48.py, at 224 instead of 256 px.
_base_ = ['../diving48.py', '../../_base_/probe/video_224.py']

model = dict(encoder_weights='encoder')

train_pipeline = [
    _base_.open_video,
    _base_.clips,
    _base_.decode,
    *_base_.crop_224,
    _base_.flip,
    *_base_.pack,
]
test_pipeline = [
    _base_.open_video,
    dict(_base_.clips, test_mode=True),
    _base_.decode,
    *_base_.views_224,
    *_base_.pack,
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
