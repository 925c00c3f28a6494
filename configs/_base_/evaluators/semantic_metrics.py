# How well classes are seen, how far colours are from the true ones in each class, and what all photos are measured by.
val_evaluator = [dict(type='SemanticIoU'), dict(type='ClassColourError'), dict(type='PSNR', levels=['image'])]
test_evaluator = [
    dict(type='SemanticIoU'),
    dict(type='ClassColourError'),
    dict(type='PSNR'),
    dict(type='Colorfulness'),
]
