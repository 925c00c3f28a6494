"""How much of what there is a detector finds, whatever it calls it.

Shape legend: D detected boxes, T true boxes of one photo.
"""

from dataclasses import dataclass

from torchvision.ops import box_iou

from insta_colorization.structures import Instances

IOU = 0.5
# Of the boxes that COCO calls large, in pixels of the photo.
LARGE_AREA = 96**2


@dataclass
class DetectionCounts:
    """Counts over photos. A detection hits a true box at an IoU of 0.5; each hits one at most and is hit once at most.

    Attributes:
        photos: how many.
        detections, hits: detected boxes, and those of them that hit a true box of any size.
        large, large_hits: true boxes of more than 96 x 96 pixels, and those that are hit.
        labelled: of the hits on large boxes those with the right class.
        persons, person_hits: large true persons, and those that are hit by a box that is called a person.
    """

    photos: int = 0
    detections: int = 0
    hits: int = 0
    large: int = 0
    large_hits: int = 0
    labelled: int = 0
    persons: int = 0
    person_hits: int = 0

    def add(self, found: Instances, truth: Instances) -> None:
        """Counts one photo: what was found and selected, and the true instances without crowds, both with labels."""
        hit = hits(found, truth)
        large = truth.areas > LARGE_AREA
        names, true_names = _names(found), _names(truth)
        self.photos += 1
        self.detections += len(found)
        self.hits += sum(index >= 0 for index in hit)
        self.large += int(large.sum())
        self.persons += sum(name == 'person' for name, is_large in zip(true_names, large, strict=True) if is_large)
        for name, index in zip(names, hit, strict=True):
            if index >= 0 and large[index]:
                self.large_hits += 1
                self.labelled += name == true_names[index]
                self.person_hits += name == true_names[index] == 'person'

    def shares(self) -> dict[str, float]:
        """{name: share}, not a number where there is nothing to share."""
        shares = {
            'recall': (self.large_hits, self.large),
            'precision': (self.hits, self.detections),
            'labels right': (self.labelled, self.large_hits),
            'person recall': (self.person_hits, self.persons),
        }
        return {name: part / whole if whole else float('nan') for name, (part, whole) in shares.items()}


def hits(found: Instances, truth: Instances) -> list[int]:
    """Which true box each detected one hits, -1 for none; better scores choose first, by IoU."""
    overlap = box_iou(found.boxes, truth.boxes)
    hit = [-1] * len(found)
    for number in found.worst_to_best().flip(0).tolist() if len(truth) else ():
        best, index = overlap[number].max(dim=0)
        if best >= IOU:
            hit[number] = int(index)
            overlap[:, index] = 0
    return hit


def _names(instances: Instances) -> list[str]:
    if instances.labels is None:
        return [''] * len(instances)
    return [instances.classes[label] if label >= 0 else '' for label in instances.labels.tolist()]
