# ImageNet-1K with a published encoder of 224 px (VideoMAE, image ViTs), as
# tools/convert_checkpoint.py writes it: as in1k.py, at 224 instead of 256 px.
_base_ = '../in1k.py'

model = dict(encoder_weights='encoder')

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(scale=224)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=256)
test_pipeline[2].update(crop_size=224)

train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(dataset=dict(pipeline=test_pipeline)))
test_dataloader = val_dataloader
