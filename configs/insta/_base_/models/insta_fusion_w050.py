_base_ = './insta_fusion.py'
model = dict(image_net=dict(width=0.5), instance_net=dict(width=0.5), fusion_net=dict(width=0.5))
