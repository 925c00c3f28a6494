"""What accompanies one photo through the runner."""

from mmengine.structures import BaseDataElement


class ColorizationSample(BaseDataElement):
    """What accompanies one photo through the runner.

    Attributes:
        gt_rgb: (3, H, W) uint8, the true photo at the network's size, where there is one.
        pred_ab: (2, H, W) float32 in network units.
        instances: `Instances` of this photo.

    Meta information: `img_path`, `image_size` (height and width of the file's photo).
    """
