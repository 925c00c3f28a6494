"""Makes the small file that ships out of a training's checkpoint.

    python tools/model_converters/publish_weights.py CONFIG CHECKPOINT OUT.safetensors

Half precision, without optimizer and history; the averaged (EMA) weights if the training kept them, because MMEngine
saves those as the model's. What prediction must know about the weights goes into the file's header: the size they were
trained at and how their output is decoded. Prints the file's sha256, for its card.
"""

import argparse
import hashlib
import json
from pathlib import Path

from mmengine.config import Config

from insta_colorization.checkpoints import load_checkpoint, save_checkpoint


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config that trained the checkpoint')
    parser.add_argument('checkpoint', help='what tools/train.py saved')
    parser.add_argument('out', type=Path, help='.safetensors file to write; an existing one is replaced')
    args = parser.parse_args()

    cfg = Config.fromfile(args.config)
    metadata = {
        'config': Path(args.config).stem,
        'input_size': str(cfg.input_size),
        'decoder': json.dumps(dict(cfg.model.get('decoder') or {'type': 'RegressionDecoder'})),
        'mask_centre': str(cfg.model.get('mask_centre', 0.5)),
    }
    (written,) = save_checkpoint(load_checkpoint(args.checkpoint).state_dict, args.out, metadata=metadata, half=True)
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    print(f'{written}: {written.stat().st_size / 2**20:.2f} MiB, sha256 {digest}')


if __name__ == '__main__':
    main()
