# Its training: 313 classes, soft targets, rare colours counting more without a bound, and the annealed mean.
_base_ = './patch_eccv16.py'
model = dict(
    losses=dict(
        classes=dict(
            type='RebalancedClassLoss',
            prior='ab_prior.json',
            targets='soft',
            uniform_share=0.5,
            max_weight=1000.0,  # more than half of the uniform part allows
        )
    ),
    decoder=dict(type='AnnealedMeanDecoder', temperature=0.38),
)
