# The full method, but the decoder predicts the target itself: no noise, no flow time.
_base_ = '../_base_/ablations/paper.py'

model = dict(
    head=dict(
        _delete_=True,
        type='RegressionHead',
        decoder=_base_.model.head.decoder,
        loss_weight=_base_.model.head.loss_weight,
    )
)
