_base_ = './insta_instance.py'
model = dict(image_net=dict(width=0.25), instance_net=dict(width=0.25))
