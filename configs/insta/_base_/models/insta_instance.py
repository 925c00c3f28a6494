# Stage 2: the instance network, which begins as a copy of the full-image network.
_base_ = './insta_full.py'
model = dict(type='InstanceColorizer', instance_net=dict(type='ColorizationBackbone', width=1.0))
