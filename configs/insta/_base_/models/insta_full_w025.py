_base_ = './insta_full.py'
model = dict(image_net=dict(width=0.25))
