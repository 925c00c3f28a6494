"""Photos for training and testing, with what boxes files say about them."""

import logging
from collections.abc import Iterator
from copy import deepcopy
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from insta_colorization.fileio.boxes import Annotations, open_boxes, read_coco
from insta_colorization.imaging.photo import READABLE_SUFFIXES
from insta_colorization.registry import DATASETS

from .lists import photos_in, read_list
from .sampler import Key
from .transforms import LoadInstances


@DATASETS.register_module()
class ColorizationDataset(BaseDataset):
    """Photos of a folder, or those that a text file or a COCO file lists; no photo is opened before its turn.

    What is random in the pipeline (numpy's generator) is a function of `seed`, the epoch and the photo's index: the
    order, the workers and a resumption change nothing. In training another photo takes the place of one that the
    pipeline cannot use; which one is such a function as well, and the log says why.

    A record has `img_path` and, where they are given, the photo's `annotations` and `gt_annotations` (`Annotations`).

    Args:
        data_root: the folder; searched recursively when there is no list. `data_prefix=dict(img_path=...)` names a
            folder in it that the photos are in.
        ann_file: '' for all photos of the folder, or a file in `data_root`: a text file with one relative name a line,
            or a COCO `.json`, whose annotations are the `instances` where none are given.
        instances: the boxes that the networks use: a COCO annotation file, RESULTS.json:ANNOTATIONS.json, or a folder
            of `.npz` files, as `fileio.boxes.open_boxes` reads them.
        gt_instances: the true boxes, for instance-level metrics or the selection of true instances; likewise.
        seed: see above.
        views: after so many epochs the random choices repeat, and what the pipeline made of the photos is kept in
            memory until then, so that networks can keep what they made of them as well (`FrozenEncoder`); None for new
            choices in each epoch.
        kwargs: see `mmengine.dataset.BaseDataset`. `filter_cfg=dict(score_thr=0.3, min_instances=1)` leaves out photos
            that have fewer `instances` of that score.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str = '',
        instances: str | None = None,
        gt_instances: str | None = None,
        seed: int = 0,
        views: int | None = None,
        **kwargs: Any,
    ) -> None:
        if views is not None and views < 1:
            raise ValueError(f'views must be at least 1 or None, but got {views}')
        self.instances = instances
        self.gt_instances = gt_instances
        self.seed = seed
        self.views = views
        self._kept: dict[Key, dict] = {}
        # A lock of the spawn context reaches forked workers as well, but not the other way round.
        self._num_skipped = get_context('spawn').Value('q', 0)
        super().__init__(ann_file=ann_file, data_root=data_root, **kwargs)

    def describe(self) -> dict[str, Any]:
        """What a protocol says about the photos, their boxes and what the pipeline makes of them."""
        described: dict[str, Any] = {}
        for step in self.pipeline.transforms:
            described |= step.describe() if hasattr(step, 'describe') else {}
        file, folder = Path(self.ann_file), Path(self.data_root)
        listed = str(file.relative_to(folder) if file.is_relative_to(folder) else file) if self.ann_file else None
        networks = self.instances or (listed if listed and listed.endswith('.json') else None)
        if described.get('selection', {}).get('source') == 'gt_instances':
            networks = self.gt_instances
        boxes = {'networks': networks, 'truth': self.gt_instances}
        return {'dataset': self.data_root, 'list': listed, 'boxes': boxes, **described}

    def load_data_list(self) -> list[dict]:
        """One record a photo.

        Raises:
            FileNotFoundError: the folder, the list or a boxes file is missing.
            ValueError: there is no photo, or one of the files cannot be used or knows none of the photos; or boxes are
                given for testing, but the pipeline leaves them alone.
        """
        self._check_use_of_boxes()
        folder = Path(self.data_prefix['img_path'])
        if not folder.is_dir():
            raise FileNotFoundError(f'the dataset folder {folder} does not exist')
        names, instances = self._names(folder)
        if not names:
            known = ', '.join(READABLE_SUFFIXES)
            raise ValueError(f'{self.ann_file or folder} names no photo with one of the suffixes {known}')
        paths = [str(folder / name) for name in names]
        if self.ann_file:
            self._check_presence(paths)
        return self._records(paths, {'annotations': instances, 'gt_annotations': self.gt_instances})

    def _check_use_of_boxes(self) -> None:
        if not self.test_mode or any(isinstance(step, LoadInstances) for step in self.pipeline.transforms):
            return
        for name in ('instances', 'gt_instances'):
            if file := getattr(self, name):
                raise ValueError(f"the dataset's {name} are {file}, but its pipeline has no LoadInstances to read them")

    def _names(self, folder: Path) -> tuple[list[str], str | None]:
        """The photos' names relative to the folder, and the file of their instances."""
        if self.ann_file.endswith('.json'):
            content = read_coco(Path(self.ann_file), folder)
            names = [image['file_name'] for image in content['images']]
            return names, self.instances or (self.ann_file if 'annotations' in content else None)
        return read_list(Path(self.ann_file)) if self.ann_file else photos_in(folder), self.instances

    def _check_presence(self, paths: list[str]) -> None:
        present = sum(Path(path).is_file() for path in paths)
        if not present:
            raise ValueError(f'{self.ann_file} lists {len(paths)} photos, but 0 of them exist, such as {paths[0]}')
        if present < len(paths):
            print_log(f'{self.ann_file}: {present} of {len(paths)} photos exist', 'current', logging.WARNING)

    def _records(self, paths: list[str], files: dict[str, str | None]) -> list[dict]:
        records: list[dict] = [{'img_path': path} for path in paths]
        masks = any(isinstance(step, LoadInstances) and step.masks for step in self.pipeline.transforms)
        read: dict[str, list[Annotations]] = {}
        for name, file in files.items():
            if file is None:
                continue
            if file not in read:
                read[file] = _annotations(file, paths, masks)
            for record, annotations in zip(records, read[file], strict=True):
                record[name] = annotations
        return records

    def filter_data(self) -> list[dict]:
        """The records that `filter_cfg` leaves.

        Raises:
            ValueError: none is left, or there are no boxes to filter by.
        """
        if not self.filter_cfg:
            return self.data_list
        return self._with_instances(**self.filter_cfg)

    def _with_instances(self, score_thr: float = 0.0, min_instances: int = 1) -> list[dict]:
        if 'annotations' not in self.data_list[0]:
            raise ValueError('filter_cfg counts the `instances` of each photo, but the dataset was given none')
        kept = [record for record in self.data_list if record['annotations'].usable(score_thr) >= min_instances]
        total, dropped = len(self.data_list), len(self.data_list) - len(kept)
        rule = f'fewer than {min_instances} box{"" if min_instances == 1 else "es"} of score >= {score_thr}'
        if not kept:
            raise ValueError(f'no photo is left: all {total} have {rule}')
        print_log(f'kept {len(kept)} of {total} photos: {dropped} have {rule}', 'current')
        return kept

    def __getitem__(self, key: int | Key) -> dict:
        """A photo after the pipeline.

        Args:
            key: the photo's index, for epoch 0, or epoch and index as `PhotoSampler` yields them.

        Raises:
            ValueError: in testing, the photo cannot be used; in training, nor can `max_refetch` others.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        epoch = epoch if self.views is None else epoch % self.views
        # numpy's seed cannot be negative, and -1 is the same photo as the last one.
        index = range(len(self))[index]
        if (epoch, index) in self._kept:
            return deepcopy(self._kept[epoch, index])
        state = np.random.get_state()
        np.random.seed((self.seed, epoch, index))
        try:
            packed = self._packed(index)
        finally:
            np.random.set_state(state)
        if self.views is not None:
            # A copy, since a worker's tensors become shared memory, of which a process may hold few pieces.
            self._kept[epoch, index] = deepcopy(packed)
        return packed

    def _packed(self, index: int) -> dict:
        for candidate in self._candidates(index):
            record = self.get_data_info(candidate)
            packed = self.pipeline(record)
            if packed is not None:
                return packed
            reason = record.get('skipped', f'the pipeline gives nothing for {record["img_path"]}')
            if self.test_mode:
                raise ValueError(f'{reason}; in testing no other photo takes its place')
            self._log_skipped(reason)
        raise ValueError(f'no photo of {len(self)} can be used; the last one: {reason}')

    def _candidates(self, index: int) -> Iterator[int]:
        """The photo, then others at random, at most `max_refetch`."""
        yield index
        others = np.random.permutation(len(self))
        yield from others[others != index][: self.max_refetch].tolist()

    def _log_skipped(self, reason: str) -> None:
        with self._num_skipped.get_lock():
            self._num_skipped.value += 1
            count = self._num_skipped.value
        print_log(f'skipped photo {count} so far: {reason}', 'current', logging.WARNING)

    def _copy_without_annotation(self, memo: dict | None = None) -> 'ColorizationDataset':
        # A subset counts along with the whole: a shared counter cannot be copied.
        return super()._copy_without_annotation({id(self._num_skipped): self._num_skipped, **(memo or {})})


def _annotations(file: str, paths: list[str], masks: bool) -> list[Annotations]:
    """What a boxes file says about each photo; the file's own contents, far larger, go again."""
    boxes = open_boxes(file, masks=masks)
    matched = boxes.matched(paths)
    annotations = [boxes.annotations_of(path) for path in paths]
    total, usable = sum(map(len, annotations)), sum(found.usable() for found in annotations)
    outside = f', {total - usable} of them without an area inside the photo' if usable < total else ''
    print_log(f'{file} knows {matched} of {len(paths)} photos: {total} boxes{outside}', 'current')
    return annotations
