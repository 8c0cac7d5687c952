# The full method, predicting the hidden patches of the next frame only.
_base_ = '../_base_/ablations/{{$NEXTVID_SCALE:paper}}.py'

model = dict(queries='hidden')
