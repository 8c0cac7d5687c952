# Kinetics-400 with a published encoder of 224 px (VideoMAE, image ViTs), as
# tools/convert_checkpoint.py writes it: frames as in k400.py, at 224 instead of 256 px.
_base_ = '../k400.py'

model = dict(encoder_weights='encoder')

train_pipeline = _base_.train_pipeline
train_pipeline[3].update(scale=(-1, 224))
train_pipeline[5].update(scale=(224, 224))
test_pipeline = _base_.test_pipeline
test_pipeline[3].update(scale=(-1, 224))
test_pipeline[4].update(crop_size=224)

train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(dataset=dict(pipeline=test_pipeline)))
test_dataloader = val_dataloader
