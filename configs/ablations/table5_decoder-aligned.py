# Generation from an isolated context; each noisy target is given the condition at its place.
_base_ = '../_base_/ablations/{{$NEXTVID_SCALE:paper}}.py'

model = dict(align_head=None, reference=None)
