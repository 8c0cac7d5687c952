# Autoregressive regression of the next frame, after Toto (arXiv 2501.05453) and AIM (arXiv
# 2401.08541), on the demo's data, schedule, targets and decoder: no masks, predictor or noise.
_base_ = '../nextvid/vit-tiny_demo.py'

model = dict(
    _delete_=True,
    type='NextFrameRegression',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    head=dict(
        type='RegressionHead',
        decoder=dict(_base_.model.head.decoder, condition_channels=_base_.model.neck.in_channels),
    ),
    target_generator=_base_.model.target_generator,
)
pack = [
    dict(step, strategies='none') if step.type == 'FrameIsolatedMasking' else step
    for step in _base_.pack
]
train_dataloader = dict(dataset=dict(pipeline=pack))
