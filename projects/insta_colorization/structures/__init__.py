"""Typed data that travels between detectors, datasets, networks and the inferencer."""

from .coco import COCO_CLASSES, COCO_IDS
from .instances import Instances
from .labels import CLASS_COLOURS, NUM_CLASSES, SEMANTIC_CLASSES, UNKNOWN, coco_panoptic_table
from .request import Hint, Request, hint_cells
from .sample import ColorizationSample, PhotoField, Size
from .semantic_map import SemanticMap, check_classes, resize_map
