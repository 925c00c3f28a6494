"""Typed data that travels between detectors, datasets, networks and the inferencer."""

from .coco import COCO_CLASSES, COCO_IDS
from .instances import Instances
from .request import Hint, Request, hint_cells
from .sample import ColorizationSample, PhotoField, Size
