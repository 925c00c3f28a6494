"""Photo in, colour photo out: the one pipeline behind the command line, the demo and the Python API."""

import json
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from insta_colorization.checkpoints.io import load_checkpoint
from insta_colorization.detectors import InstanceDetector, build_detector
from insta_colorization.detectors.selection import select
from insta_colorization.fileio.files import write_whole
from insta_colorization.imaging.photo import Photo, write_photo
from insta_colorization.imaging.rendering import Upsampling, check_controls, clipped_rgb, colorize_pixels
from insta_colorization.imaging.resize import crop_instances, resize_photo, to_tensor
from insta_colorization.models.backbones.zhang2017 import STRIDE
from insta_colorization.models.decoders import AnnealedMeanDecoder, RegressionDecoder, parse_decoder
from insta_colorization.models.insta.colorizers import Colorizer, InstColorizer
from insta_colorization.models.insta.inspection import fusion_rows, keep_shares, recorded_shares
from insta_colorization.registry import SCOPE
from insta_colorization.structures import ColorizationSample, Instances
from insta_colorization.utils.configs import DEFAULT_CONFIG, DEFAULT_WEIGHTS, PUBLISHED_CONFIG, load_config
from insta_colorization.utils.device import Precision, resolve_device, resolve_precision
from insta_colorization.visualization.sheets import fusion_sheet, sheet

from .build import colorizer_for
from .jobs import DEFAULT_SUFFIX, Job, plan
from .pipeline import Failures, Pace, Prepared, Steps, convey

logger = logging.getLogger(__name__)

Input = str | os.PathLike[str] | np.ndarray
Weights = str | Path | Sequence[str | Path]
NATIVE_SIZE = 256


class ColorizationInferencer(BaseInferencer):
    """Colours photos.

    ```python
    from insta_colorization.apis.inferencer import ColorizationInferencer

    inferencer = ColorizationInferencer()  # the shipped weights; weights=FILE_OR_FOLDER takes any known layout
    picture = inferencer('photo.jpg')['visualization'][0]  # (H, W, 3) RGB at the photo's own size and depth
    records = inferencer('album/', out_dir='coloured', recursive=True, on_error='collect')['predictions']
    ```

    Args:
        model: config, by path, recipe name or object; None for that of the shipped weights or, with other weights, for
            the paper's.
        weights: checkpoint of any known layout, a file or a folder (see `load_checkpoint`); None for the shipped ones.
            The checkpoint decides which networks there are and how wide they are, whatever the config says.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        detector: what finds the objects, see `build_detector`; None for 'auto', and then only where objects matter: a
            checkpoint of the full-image network alone cannot use them.
        score_thr: the lowest score of a usable instance; None for the detector's own.
        max_instances: how many instances of a photo are coloured on their own, the best ones.
        min_size: the shortest side of a usable instance, in pixels of the photo.
        input_size: side of the squares that the networks see, a multiple of 8; None for what the weights are made for.
        decoder: what turns the networks' outputs into colour, 'regression', 'regression:GAIN', 'annealed-mean' or
            'annealed-mean:T' (see `parse_decoder`); None for what the checkpoint or the config says.
        precision: what the networks compute in, 'auto', 'fp32', 'bf16' or 'fp16', see `resolve_precision`; everything
            else is float32. With 'auto', `native_size` is float32 as well, because it promises the published numbers.
        show_progress: whether to show a progress bar, on standard error if that is a terminal.

    Raises:
        ValueError: there is no such device, the checkpoint or the config cannot be used, or a number is out of range.
        FileNotFoundError: there is no such config.
    """

    forward_kwargs = {'show_fusion', 'exact'}
    visualize_kwargs = {'native_size', 'upsampling', 'saturation', 'strength'}
    postprocess_kwargs = {'show_instances', 'save_json'}

    model: Colorizer

    def __init__(
        self,
        model: str | Path | Mapping[str, Any] | Config | None = None,
        weights: Weights | None = None,
        device: str | torch.device = 'auto',
        detector: Any = None,
        score_thr: float | None = None,
        max_instances: int = 8,
        min_size: float = 0.0,
        input_size: int | None = None,
        decoder: str | None = None,
        precision: Precision = 'auto',
        show_progress: bool = True,
    ) -> None:
        _check_selection(score_thr, max_instances, min_size)
        _check_input_size(input_size)
        device = resolve_device(str(device))
        cfg = load_config(model or (DEFAULT_CONFIG if weights is None else PUBLISHED_CONFIG))
        self._wanted_size = input_size
        self._decoder = None if decoder is None else parse_decoder(decoder)
        self._automatic = precision == 'auto'
        self.dtype = resolve_precision(precision, device)
        super().__init__(cfg, weights or DEFAULT_WEIGHTS, device, SCOPE, show_progress)  # type: ignore[arg-type]
        self.max_instances = max_instances
        self.min_size = min_size
        self.score_thr = score_thr
        self.wanted_detector = detector
        self._detector: InstanceDetector | None = None
        self._said_colour = False
        self._saying = Lock()

    def _init_model(self, cfg: Config, weights: Weights, device: str) -> Colorizer:  # type: ignore[override]
        checkpoint = load_checkpoint(weights)
        # Batches are copied to a GPU while it works on the one before.
        preprocessor = {
            **cfg.model.get('data_preprocessor', {'type': 'ColorizationPreprocessor'}),
            'non_blocking': True,
        }
        model = colorizer_for(checkpoint, {**cfg.model, 'data_preprocessor': preprocessor}, self._decoder)
        made_for = checkpoint.metadata.get('input_size') or cfg.get('input_size', NATIVE_SIZE)
        self.input_size = int(made_for) if self._wanted_size is None else self._wanted_size
        _check_input_size(self.input_size)
        logger.info(
            '%s: %s, width %g, at %d x %d; photos are coloured by %s, decoded by %s, in %s',
            checkpoint.path.name,
            ', '.join(checkpoint.networks),
            checkpoint.width,
            self.input_size,
            self.input_size,
            'the fused network' if isinstance(model, InstColorizer) else 'the full-image network alone',
            _title(model.decoder),
            str(self.dtype).removeprefix('torch.'),
        )
        return model.to(device)

    def _init_visualizer(self, cfg: Config) -> None:  # type: ignore[override]
        """The config's visualizer is the training's; pictures are this class's own work."""

    def _init_pipeline(self, cfg: Config) -> Callable[[Input], dict[str, Any]]:  # type: ignore[override]
        return self._load_data

    def _load_data(self, photo: Input) -> dict[str, Any]:
        (job,) = plan([photo])
        return self.prepare(job, detect=self.detects).data

    @property
    def fused(self) -> bool:
        """Whether instances are coloured on their own; a checkpoint of the full-image network cannot."""
        return isinstance(self.model, InstColorizer)

    @property
    def detects(self) -> bool:
        """Whether objects are looked for in any case: when they are used, or a detector was named."""
        return self.fused or self.wanted_detector is not None

    @property
    def detector(self) -> InstanceDetector:
        """What finds the objects, built when it is first needed."""
        if self._detector is None:
            spec = 'auto' if self.wanted_detector is None else self.wanted_detector
            self._detector = build_detector(
                spec, str(self._device), self.cfg.get('detector'), masks=False, score_thr=self.score_thr
            )
        return self._detector

    def __call__(  # type: ignore[override]
        self,
        inputs: Input | Sequence[Input],
        return_datasamples: bool = False,
        batch_size: int = 1,
        out_dir: str | os.PathLike[str] | None = None,
        recursive: bool = False,
        suffix: str = DEFAULT_SUFFIX,
        overwrite: bool = False,
        on_error: Literal['raise', 'collect'] = 'raise',
        crop_budget: int = 32,
        workers: int | None = None,
        **kwargs: Any,
    ) -> dict[str, list]:
        """Colours photos; when they are written, memory does not grow with their number.

        What is wrong with the arguments, the detector or the output folder is raised before the first photo.

        Args:
            inputs: paths, folders, glob patterns, URLs or arrays (H, W), (H, W, 3) RGB or (H, W, 4) RGBA; one
                or a list.
            return_datasamples: whether `predictions` holds `ColorizationSample`s of the photos done instead of records.
            batch_size: how many photos go through the detector and the networks at once, at most.
            out_dir: folder to write to; None to get the pictures back instead.
            recursive: whether to look into sub-folders, which the results mirror.
            suffix: format of the results, '.png', '.jpg', '.tif', '.webp' or 'same' for each photo's own.
            overwrite: whether results that exist are made again; otherwise they are skipped.
            on_error: 'raise' the first photo's error, or 'collect': log errors, put them into the records and go on.
            crop_budget: how many instances the photos of a batch may have together, see `Pace`.
            workers: how many threads read, draw and write photos while the networks run, see `Pace`.
            **kwargs: arguments of `forward`, `visualize` and `postprocess`.

        Returns:
            `predictions`: a record a photo (`photo`, `output`, `status` done, skipped or failed; of those failed
            `reason`; of those done `size`, `network`, `boxes`, `scores`); `visualization`: the colour pictures of those
            done, RGB in each photo's own depth, or nothing when they were written.

        Raises:
            FileNotFoundError: there is no such input, or a file that the detector needs is missing.
            OSError: the output folder cannot be written.
            ValueError: an argument is out of range, or, with 'raise', a photo cannot be coloured.
        """
        _, forward_kwargs, visualize_kwargs, postprocess_kwargs = self._dispatch_kwargs(**kwargs)
        pace = Pace(batch_size, crop_budget, workers)
        if on_error not in ('raise', 'collect'):
            raise ValueError(f"on_error must be 'raise' or 'collect', but got {on_error!r}")
        fusion_rows(self.model, forward_kwargs.get('show_fusion', ()))
        check_controls(**{name: value for name, value in visualize_kwargs.items() if name != 'native_size'})
        jobs = plan(
            [inputs] if isinstance(inputs, str | os.PathLike | np.ndarray) else inputs, out_dir, recursive, suffix
        )
        if out_dir is not None:
            _make_folder(Path(out_dir))
        detect = self.detects or any(postprocess_kwargs.values())
        if detect and jobs:
            self._check_detector(jobs)
        forward_kwargs.setdefault('exact', visualize_kwargs.get('native_size', False))

        def color(items: list[Prepared]) -> list[ColorizationSample]:
            return self.forward(self.collate_fn([item.data for item in items]), **forward_kwargs)

        def finish(item: Prepared, sample: ColorizationSample) -> dict[str, list]:
            pictures = self.visualize([item.photo], [sample], **visualize_kwargs)
            return self.postprocess([(item, sample)], pictures, return_datasamples, **postprocess_kwargs)

        steps = Steps(self.read, self.find if detect else _no_instances, self.pack, color, finish)
        return self._run(jobs, steps, pace, overwrite, Failures(collect=on_error == 'collect'))

    def _run(
        self, jobs: Sequence[Job], steps: Steps, pace: Pace, overwrite: bool, failures: Failures
    ) -> dict[str, list]:
        """Does the photos that have no result yet; returns the predictions and pictures of all, in order."""
        nothing: list = []
        done: dict[Job, tuple[list, list]] = {}

        def missing(job: Job) -> bool:
            if job.target is None or overwrite or not job.target.is_file():
                return True
            done[job] = [_record(job, 'skipped')], nothing
            return False

        with _progress(self.show_progress) as progress:
            bar = progress.add_task('photos', total=len(jobs))
            for job, result in convey(filter(missing, jobs), steps, pace, pace.threads(len(jobs)), failures):
                done[job] = result['predictions'], result['visualization']
                progress.update(bar, completed=len(done) + len(failures.reasons))
        for job, reason in failures.reasons.items():
            done[job] = [_record(job, 'failed') | {'reason': reason}], nothing
        return {
            'predictions': [prediction for job in jobs for prediction in done[job][0]],
            'visualization': [picture for job in jobs for picture in done[job][1]],
        }

    def _check_detector(self, jobs: Sequence[Job]) -> None:
        """Builds the detector; one that looks boxes up is told all photos, so that it can say if none is there."""
        check = getattr(self.detector, 'check', None)
        if check is not None:
            check([job.name for job in jobs])

    def prepare(self, job: Job, detect: bool = True) -> Prepared:
        """Reads a photo, finds its instances and cuts them out.

        Args:
            job: the photo.
            detect: whether to run the detector.

        Raises:
            ImageReadError: there is no readable photo.
            ValueError: a box of it is unusable.
        """
        photo = self.read(job)
        (instances,) = (self.find if detect else _no_instances)([photo], [job])
        return self.pack(job, photo, instances)

    def read(self, job: Job) -> Photo:
        """Reads a photo and says, once, that colours are not used.

        Raises:
            ImageReadError: there is no readable photo.
        """
        photo = job.load()
        with self._saying:
            if photo.is_colour and not self._said_colour:
                self._said_colour = True
                logger.warning('%s is in colour: only its lightness is used (said once)', job.name)
        return photo

    def find(self, photos: Sequence[Photo], jobs: Sequence[Job]) -> list[Instances]:
        """Runs the detector on photos and selects the instances that are worth colouring on their own.

        Raises:
            ValueError: a box is unusable.
        """
        found = self.detector.detect([photo.rgb8 for photo in photos], [job.name for job in jobs])
        return [select(instances, self.detector.score_thr, self.min_size, self.max_instances) for instances in found]

    def pack(self, job: Job, photo: Photo, instances: Instances) -> Prepared:
        """Makes the networks' data of one photo.

        Args:
            job: where it came from.
            photo: what was read.
            instances: R instances of it.

        Returns:
            The photo with its `data`: `inputs` with `image` (3, S, S) uint8 and, where instances are coloured, `crops`
            (R, 3, S, S) uint8; `data_samples`, a `ColorizationSample` with the instances.
        """
        instances = replace(instances, masks=None)
        image = photo.rgb8
        inputs = {'image': to_tensor(resize_photo(image, self.input_size))}
        if self.fused:
            inputs['crops'] = to_tensor(crop_instances(image, instances, self.input_size))
        if self._device.type == 'cuda':
            inputs = {name: tensor.pin_memory() for name, tensor in inputs.items()}
        data = {'inputs': inputs, 'data_samples': ColorizationSample(instances=instances)}
        return Prepared(job, photo, instances, data)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def forward(  # type: ignore[override]
        self, inputs: dict, show_fusion: Sequence[str] = (), exact: bool = False
    ) -> list[ColorizationSample]:
        """Runs the networks on a collated batch.

        Args:
            inputs: collated data of N photos, see `pack`.
            show_fusion: rows of the network whose fusion weights to keep, such as 'conv3' or '3'.
            exact: whether to compute in float32 unless another precision was asked for by name.

        Returns:
            N samples with `pred_ab` (2, S, S) in network units and, where asked for and there, `fusion_shares`: for
            each row the shares of the photo (h, w) and of its instances (R, h, w).

        Raises:
            ValueError: a row is unknown, or nothing is fused.
        """
        rows = fusion_rows(self.model, show_fusion)
        dtype = torch.float32 if exact and self._automatic else self.dtype
        if not rows:
            return self._predict(inputs, dtype)
        assert isinstance(self.model, InstColorizer)
        with recorded_shares(self.model, rows) as shares:
            samples = self._predict(inputs, dtype)
        keep_shares(samples, shares)
        return samples

    def _predict(self, inputs: dict, dtype: torch.dtype) -> list[ColorizationSample]:
        return self.model.predict(self.model.data_preprocessor(inputs), dtype)

    def visualize(  # type: ignore[override]
        self,
        inputs: list[Photo],
        preds: list[ColorizationSample],
        native_size: bool = False,
        upsampling: Upsampling = 'guided',
        saturation: float = 1.0,
        strength: float = 1.0,
    ) -> list[np.ndarray]:
        """Joins predicted colour with the photos' own lightness.

        Args:
            inputs: N photos.
            preds: N samples with `pred_ab`.
            native_size: whether to give 256 x 256 of the resized photo, RGB clipped and rounded, as the published code
                does, instead of the photo's own size.
            upsampling: how ab gets to the photo's size, 'guided' by its edges or 'bilinear'.
            saturation: factor on the chroma.
            strength: 0 leaves the photo grey, 1 gives it the whole colour.

        Returns:
            N pictures (H, W, 3) RGB, uint8 or, of 16-bit photos at their own size, uint16.

        Raises:
            ValueError: a control is out of range.
        """
        controls: dict[str, Any] = {'upsampling': upsampling, 'saturation': saturation, 'strength': strength}
        check_controls(**controls)
        if native_size:
            scale = saturation * strength
            return [
                native_rgb(photo.rgb8, sample.pred_ab.cpu() * scale)
                for photo, sample in zip(inputs, preds, strict=True)
            ]
        return [
            colorize_pixels(photo.pixels, sample.pred_ab, **controls)
            for photo, sample in zip(inputs, preds, strict=True)
        ]

    def postprocess(  # type: ignore[override]
        self,
        preds: list[tuple[Prepared, ColorizationSample]],
        visualization: list[np.ndarray],
        return_datasamples: bool = False,
        show_instances: bool = False,
        save_json: bool = False,
    ) -> dict[str, list]:
        """Writes the results of photos that have a target, each file whole or not at all, and describes them.

        Args:
            preds: N photos with their samples.
            visualization: their N pictures.
            return_datasamples: whether to return the samples instead of records.
            show_instances: whether to write a sheet (grey | result | boxes) as `<result>.instances.png`.
            save_json: whether to write size, network, boxes and scores as `<result>.json`.

        Returns:
            `predictions` of the N photos and `visualization`, the pictures that were not written; see `__call__`.
        """
        predictions: list[Any] = []
        pictures = []
        for (item, sample), picture in zip(preds, visualization, strict=True):
            record = self._describe(item)
            predictions.append(sample.to('cpu') if return_datasamples else record)
            target = item.job.target
            if target is None:
                pictures.append(picture)
                continue
            _make_folder(target.parent)
            for name, looked_at in _sheets(item, sample, picture, show_instances).items():
                write_photo(looked_at, target.with_name(f'{target.name}.{name}.png'))
            if save_json:
                write_whole((json.dumps(record, indent=1) + '\n').encode(), target.with_name(f'{target.name}.json'))
            # The photo itself comes last: where it exists, all that belongs to it does, and a repeated run skips it.
            write_photo(_with_picture(item.photo, picture), target)
        return {'predictions': predictions, 'visualization': pictures}

    def _describe(self, item: Prepared) -> dict[str, Any]:
        return _record(item.job, 'done') | {
            'size': list(item.photo.size),
            'network': 'fusion_net' if self.fused and len(item.instances) else 'image_net',
            'boxes': [[round(value, 2) for value in box] for box in item.instances.boxes.tolist()],
            'scores': [round(score, 4) for score in item.instances.scores.tolist()],
        }


def native_rgb(image: np.ndarray, ab: Tensor) -> np.ndarray:
    """The published code's picture: the photo at 256 x 256 with predicted colour, clipped to sRGB and rounded.

    Args:
        image: (H, W, 3) uint8.
        ab: (2, S, S) in network units.

    Returns:
        (256, 256, 3) uint8.
    """
    return clipped_rgb(to_tensor(resize_photo(image, NATIVE_SIZE)), ab).movedim(0, -1).numpy()


def _sheets(
    item: Prepared, sample: ColorizationSample, picture: np.ndarray, show_instances: bool
) -> dict[str, np.ndarray]:
    """The sheets to look at, by the name that their files get."""
    sheets = {}
    if show_instances or 'fusion_shares' in sample:
        gray = colorize_pixels(item.photo.rgb8, np.zeros((2, 1, 1), np.float32), upsampling='bilinear')
    if show_instances:
        sheets['instances'] = sheet(gray, Photo(picture).rgb8, item.instances)
    if 'fusion_shares' in sample:
        sheets['fusion'] = fusion_sheet(gray, item.instances, sample.fusion_shares)
    return sheets


def _check_selection(score_thr: float | None, max_instances: int, min_size: float) -> None:
    if score_thr is not None and not math.isfinite(score_thr):
        raise ValueError(f'score_thr must be finite, but got {score_thr}')
    if max_instances < 0:
        raise ValueError(f'max_instances must be at least 0, but got {max_instances}')
    if not 0 <= min_size < math.inf:
        raise ValueError(f'min_size must be at least 0 and finite, but got {min_size}')


def _check_input_size(size: int | None) -> None:
    if size is not None and (size < STRIDE or size % STRIDE):
        raise ValueError(f'input_size must be a positive multiple of {STRIDE}, but got {size}')


def _progress(wanted: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, disable=not (wanted and console.is_terminal), transient=True)


def _no_instances(photos: Sequence[Photo], jobs: Sequence[Job]) -> list[Instances]:
    return [Instances.empty(photo.size) for photo in photos]


def _title(decoder: nn.Module) -> str:
    if isinstance(decoder, AnnealedMeanDecoder):
        return f'the annealed mean (T = {decoder.temperature:g})'
    if isinstance(decoder, RegressionDecoder):
        return 'the regression head' + ('' if decoder.gain == 1 else f' (times {decoder.gain:g})')
    return type(decoder).__name__


def _with_picture(photo: Photo, picture: np.ndarray) -> Photo:
    """The photo with its colours; at native size its alpha follows."""
    if picture.shape == photo.pixels.shape:
        return photo.with_pixels(picture)
    alpha = photo.alpha
    if alpha is not None:
        alpha = Photo.from_array(alpha).rgb8[..., 0]
        alpha = np.asarray(
            Image.fromarray(alpha).resize((picture.shape[1], picture.shape[0]), Image.Resampling.BILINEAR)
        )
    return replace(photo, pixels=picture, alpha=alpha, is_colour=True)


def _record(job: Job, status: str) -> dict[str, Any]:
    return {'photo': job.name, 'output': None if job.target is None else str(job.target), 'status': status}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = 'it is a file' if isinstance(error, FileExistsError) else error.strerror
        raise OSError(f'cannot write to the folder {folder}: {reason}') from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f'cannot write to the folder {folder}: Permission denied')
