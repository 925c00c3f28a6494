# In validation: what needs no weights and no second pass.
val_evaluator = [dict(type='PSNR'), dict(type='Colorfulness')]
