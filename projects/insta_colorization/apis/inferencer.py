"""The predictor and the album as an MMEngine inferencer."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from io import IOBase
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer

from insta_colorization.fileio.captions import CaptionFile
from insta_colorization.fileio.hints import HintFile
from insta_colorization.imaging.maps import MapFiles
from insta_colorization.models.colorizer import Colorizer
from insta_colorization.registry import SCOPE
from insta_colorization.structures import ColorizationSample, Request
from insta_colorization.utils.options import ColourOptions, NetworkOptions, PaceOptions, ResultOptions
from insta_colorization.utils.progress import progress_bar

from .album import OnError, color_album
from .jobs import Job, Picture, load, plan
from .predictor import Predictor, Weights

Input = str | os.PathLike[str] | Picture | Job
Inputs = Input | Sequence[Input]


class ColorizationInferencer(BaseInferencer):
    """Colours photos.

    ```python
    inferencer = ColorizationInferencer()  # the bundled weights; weights=FILE_OR_FOLDER takes any known layout
    picture = inferencer('photo.jpg')['visualization'][0]  # (H, W, 3) RGB at the photo's own size and depth
    records = inferencer('album/', out_dir='coloured', recursive=True, on_error='collect')['predictions']
    ```

    Args:
        model: config, see `Predictor`.
        weights: checkpoint, see `Predictor`.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        show_progress: whether to show a progress bar, on standard error if that is a terminal.
        options: further arguments of `Predictor`.

    Attributes:
        predictor: runs inference.

    Raises:
        FileNotFoundError: see `Predictor`.
        ValueError: see `Predictor`.
    """

    forward_kwargs = {'show_fusion', 'exact'}
    visualize_kwargs = {field.name for field in fields(ColourOptions)}

    def __init__(
        self,
        model: str | Path | Mapping[str, Any] | Config | None = None,
        weights: Weights | None = None,
        device: str | torch.device = NetworkOptions.device,
        *,
        show_progress: bool = True,
        **options: Any,
    ) -> None:
        self.predictor = Predictor(model, weights, device, **options)
        super().__init__(self.predictor.config, None, str(self.predictor.device), SCOPE, show_progress)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what is local to this process; a spawned worker rebuilds it."""
        return vars(self) | {'pipeline': None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.pipeline = self._init_pipeline(self.cfg)

    def _init_model(self, cfg: Config, weights: Weights | None, device: str) -> Colorizer:  # type: ignore[override]
        return self.predictor.model

    def _init_visualizer(self, cfg: Config) -> None:  # type: ignore[override]
        """Builds none: the config's visualizer is for training, and the predictor renders pictures."""

    def _init_pipeline(self, cfg: Config) -> Callable[[Input], dict[str, Any]]:  # type: ignore[override]
        def load_and_pack(item: Input) -> dict[str, Any]:
            (job,) = self._inputs_to_list(item)
            photo = self.predictor.read(job.source, job.name)
            found = self.predictor.find([photo], [job.name])[0] if self.predictor.detects else None
            return self.predictor.pack(photo, Request(found), job.name)

        return load_and_pack

    def _inputs_to_list(self, inputs: Inputs, **where: Any) -> list[Job]:  # type: ignore[override]
        """The jobs for one input or a list of inputs; `where` are further arguments of `plan`."""
        items: list[Any] = list(inputs) if _is_several(inputs) else [inputs]
        if items and all(isinstance(item, Job) for item in items):
            return items
        return plan(items, **where, max_pixels=self.predictor.input.max_pixels)

    def preprocess(self, inputs: Inputs, batch_size: int = 1) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yields collated batches of the photos named by paths, folders, patterns, URLs and arrays, for `forward`."""
        yield from super().preprocess(self._inputs_to_list(inputs), batch_size)

    def forward(  # type: ignore[override]
        self, inputs: dict[str, Any], show_fusion: Sequence[str] = (), exact: bool = False
    ) -> list[ColorizationSample]:
        """Runs the networks on a batch of `preprocess`; see `Predictor.forward`."""
        return self.predictor.forward(inputs, show_fusion, exact)

    def visualize(  # type: ignore[override]
        self, inputs: Inputs, preds: Sequence[ColorizationSample], **colour: Any
    ) -> list[np.ndarray]:
        """Renders N pictures (H, W, 3) RGB, see `Predictor.render`; the photos given to `preprocess` are read again.

        Args:
            inputs: the N photos.
            preds: their samples.
            colour: see `ColourOptions`.
        """
        options = ColourOptions(**colour)
        photos = (load(job.source, self.predictor.input.max_pixels) for job in self._inputs_to_list(inputs))
        return [self.predictor.render(photo, sample, options) for photo, sample in zip(photos, preds, strict=True)]

    def postprocess(  # type: ignore[override]
        self, preds: Sequence[ColorizationSample], visualization: list[np.ndarray], return_datasamples: bool = False
    ) -> dict[str, list]:
        """Returns `predictions`, the samples or their records, and `visualization`, the pictures."""
        predictions = list(preds) if return_datasamples else [self.predictor.describe(sample) for sample in preds]
        return {'predictions': predictions, 'visualization': visualization}

    def __call__(  # type: ignore[override]
        self,
        inputs: Inputs,
        return_datasamples: bool = False,
        batch_size: int = PaceOptions.batch_size,
        out_dir: str | os.PathLike[str] | None = None,
        on_error: OnError = 'raise',
        on_progress: Callable[[int, int], object] | None = None,
        hints: str | os.PathLike[str] | None = None,
        maps: str | os.PathLike[str] | None = None,
        caption: str | None = None,
        captions: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> dict[str, list]:
        """Colours photos, see `color_album`.

        Args:
            inputs: paths, folders, glob patterns, URLs, Pillow images, bytes of files, or arrays (H, W), (H, W, 3) RGB
                or (H, W, 4) RGBA; one or a list.
            return_datasamples: whether `predictions` holds `ColorizationSample`s of the photos done instead of records.
            batch_size: the maximum number of photos that go through the detector and the networks at once.
            out_dir: folder for the results; None returns the pictures instead.
            on_error: 'raise' the first error, or 'collect': log errors, put them into the records and continue.
            on_progress: called with the number of photos done and the total, instead of a progress bar.
            hints: JSON file of colours for places in the photos, see `fileio.hints`.
            maps: classes of the photos' pixels, a file or a folder, see `imaging.maps.MapFiles`.
            caption: a text that says which colours things have, for all photos.
            captions: file of such texts by the names of photos, see `fileio.captions`.
            options: fields of `ResultOptions`, `ColourOptions` and `PaceOptions`, by name.

        Returns:
            `predictions`: one record per photo, see `Outcome`; `visualization`: the pictures of those done, RGB with
            each photo's own depth, or nothing if they were written.

        Raises:
            FileNotFoundError: there is no such input, or a file that the detector needs is missing.
            OSError: the output folder cannot be written.
            ValueError: an argument is unknown or out of range, or, with 'raise', a photo cannot be coloured.
        """
        options |= {'batch_size': batch_size, 'out_dir': out_dir}
        results, colour, pace = _grouped(options, ResultOptions, ColourOptions, PaceOptions)
        where = {'recursive': results.recursive, 'suffix': results.suffix, 'pages': results.pages}
        jobs = self._inputs_to_list(inputs, out_dir=out_dir, **where)
        if caption is not None and captions is not None:
            raise ValueError(f'caption {caption!r} and the file of captions {captions} exclude each other')
        wishes = None if hints is None else HintFile(hints)
        texts = caption if captions is None else CaptionFile(captions)
        classes = None if maps is None else MapFiles(maps, self.predictor.input.max_pixels)
        with progress_bar(self.show_progress and on_progress is None) as bar:
            tell = on_progress or bar
            outcomes = color_album(
                self.predictor, jobs, results, colour, pace, on_error, tell, return_datasamples, wishes, classes, texts
            )
        return {
            'predictions': [outcome.sample or outcome.record for outcome in outcomes],
            'visualization': [outcome.pixels for outcome in outcomes if outcome.pixels is not None],
        }


def _is_several(inputs: object) -> TypeGuard[Iterable[Any]]:
    """Whether these are several inputs."""
    return isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes | np.ndarray | IOBase)


def _grouped(options: Mapping[str, Any], *groups: type) -> list[Any]:
    """Distributes options over groups; raises `ValueError` for unknown ones."""
    names = [{field.name for field in fields(group)} for group in groups]
    if unknown := sorted(options.keys() - set().union(*names)):
        raise ValueError(f'unknown argument {unknown[0]!r}; known are {", ".join(sorted(set().union(*names)))}')
    return [
        group(**{name: value for name, value in options.items() if name in own})
        for group, own in zip(groups, names, strict=True)
    ]
