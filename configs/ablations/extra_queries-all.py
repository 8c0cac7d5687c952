# The full method, predicting every patch of the next frame, visible ones too.
_base_ = '../_base_/ablations/{{$NEXTVID_SCALE:paper}}.py'

model = dict(queries='all')
