# L-CoIns at the published size: 269 M parameters, and BERT's 109 M. The checkpoint holds BERT's weights but not its
# vocabulary: put vocab.txt of bert-base-uncased into the folder named here.
model = dict(
    type='LanguageColorizer',
    language_net=dict(
        type='LanguageNetwork',
        encoder_width=768,
        encoder_depth=12,
        encoder_heads=12,
        decoder_width=1024,
        decoder_depth=12,
        decoder_heads=16,
        groups=15,
    ),
    text_encoder=dict(type='BertTextEncoder', vocab='data/bert-base-uncased'),
    losses={},
)
