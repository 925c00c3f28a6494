# In testing: everything in use in this field. What lacks its weights is reported as not computed.
test_evaluator = [
    dict(type='PSNR'),
    dict(type='SSIM'),
    dict(type='LPIPS'),
    dict(type='Colorfulness'),
    dict(type='EncoderFrechet', levels=['image']),
    dict(type='FID', family='tf'),
    dict(type='FID', family='torchvision'),
]
