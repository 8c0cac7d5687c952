# Generation, context isolation and alignment: the full method.
_base_ = '../_base_/ablations/{{$NEXTVID_SCALE:paper}}.py'
