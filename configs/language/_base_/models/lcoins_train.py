# Its training. Known of the paper's losses are their kinds: smooth L1 of beta 1 on ab, and soft targets of five classes
# with a sigma of 5. The weights and the counter-colour loss are ours; groups learn from no loss of their own.
_base_ = './lcoins.py'
model = dict(
    language_net=dict(drop_path=0.1),
    losses=dict(
        ab=dict(type='HuberLoss', loss_weight=0.5, beta=1.0),  # summed over a and b: their mean
        classes=dict(type='RebalancedClassLoss', targets='soft', loss_weight=0.1),  # without a prior all count the same
        counter=dict(type='CounterColorLoss', loss_weight=0.1, margin=0.2),
    ),
)
