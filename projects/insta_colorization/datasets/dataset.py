"""Photos for training and testing."""

from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset

from insta_colorization.imaging import READABLE_SUFFIXES
from insta_colorization.registry import DATASETS


@DATASETS.register_module()
class ColorizationDataset(BaseDataset):
    """Photos of a folder, or those that a text file lists.

    Args:
        data_root: the folder; searched recursively when there is no list.
        ann_file: a text file in `data_root` with one relative name a line; '' for all photos of the folder.
        kwargs: see `mmengine.dataset.BaseDataset`.
    """

    def __init__(self, data_root: str, ann_file: str = '', **kwargs: Any) -> None:
        super().__init__(ann_file=ann_file, data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One record a photo: `img_path`.

        Raises:
            FileNotFoundError: the folder or the list is missing.
            ValueError: there is no photo in it.
        """
        folder = Path(self.data_root)
        if not folder.is_dir():
            raise FileNotFoundError(f'the dataset folder {folder} does not exist')
        if self.ann_file:
            if not Path(self.ann_file).is_file():
                raise FileNotFoundError(f'the list {self.ann_file} does not exist')
            names = [line for line in Path(self.ann_file).read_text().splitlines() if line]
            paths = [folder / name for name in names]
        else:
            paths = sorted(path for path in folder.rglob('*') if path.suffix.lower() in READABLE_SUFFIXES)
        if not paths:
            known = ', '.join(READABLE_SUFFIXES)
            raise ValueError(f'{self.ann_file or folder} names no photo with one of the suffixes {known}')

        return [{'img_path': str(path)} for path in paths]
