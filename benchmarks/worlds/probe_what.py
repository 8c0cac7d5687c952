# Which of seven bodies; ten labelled clips a body.
_base_ = './probe_how.py'

root = '{{$BODIES:data/bodies}}/'
model = dict(cls_head=dict(num_classes=7))
train_dataloader = dict(dataset=dict(dataset=dict(ann_file=root + 'what/train_10.txt')))
val_dataloader = dict(dataset=dict(dataset=dict(ann_file=root + 'what/val.txt')))
test_dataloader = val_dataloader
