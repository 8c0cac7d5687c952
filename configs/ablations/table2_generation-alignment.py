# Generation and alignment without context isolation.
_base_ = '../_base_/ablations/{{$NEXTVID_SCALE:paper}}.py'

model = dict(neck=dict(type='JointPredictor'))
