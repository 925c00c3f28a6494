"""What accompanies one photo through a pipeline and the runner."""

from typing import Self

from mmengine.structures import BaseDataElement

Size = tuple[int, int]


class PhotoField:
    """Something that belongs to a photo and moves with it through the transforms, by default without a change.

    A method that needs a further field, such as a class map or hints, derives it from here and adds it to `results`:
    crops, flips and `ResizePhoto` move every field along, and `PackColorization` hands it on in the sample.
    """

    def crop(self, rows: slice, columns: slice) -> Self:
        """Of the part of the photo in a window of it."""
        return self

    def flip(self) -> Self:
        """Of the photo mirrored left to right."""
        return self

    def resize(self, size: Size) -> Self:
        """Of the photo squashed to (height, width), the network's input."""
        return self


class ColorizationSample(BaseDataElement):
    """What accompanies one photo through the runner.

    Attributes:
        gt_rgb: (3, H, W) uint8, the true photo at the network's size, where there is one.
        pred_ab: (2, H, W) float32 in network units.
        instances: `Instances` of this photo, and any other `PhotoField`, under the name that it has in the pipeline.

    Meta information: `img_path`, `image_size` (height and width of the file's photo).
    """
