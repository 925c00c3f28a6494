"""Photo in, colour photo out: the one pipeline behind the command line, the demo and the Python API."""

import json
import logging
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from PIL import Image
from rich.progress import track
from torch import Tensor

from .archive import Job, plan
from .checkpoints import load_checkpoint
from .colorspace import from_network, lab_to_rgb, rgb_to_lab, to_network
from .crops import crop_instances, resize_photo
from .detectors import InstanceDetector, build_detector
from .imaging import Photo, write_photo
from .models.assembly import colorizer_for
from .models.colorizers import Colorizer, InstColorizer
from .recipes import DEFAULT_CONFIG, DEFAULT_WEIGHTS, find_config
from .registry import SCOPE
from .rendering import Upsampling, colorize_pixels
from .selection import select
from .structures import ColorizationSample, Instances
from .visualization import fusion_sheet, parse_rows, recorded_shares, sheet

logger = logging.getLogger(__name__)

Input = str | Path | np.ndarray
NATIVE_SIZE = 256


@dataclass(frozen=True, eq=False)
class Prepared:
    """A photo on its way to the networks: what was read, what was found, what they get."""

    job: Job
    photo: Photo
    instances: Instances
    data: dict[str, Any]


class ColorizationInferencer(BaseInferencer):
    """Colours photos.

    Args:
        model: config, by path, recipe name or object; None for that of the shipped weights.
        weights: checkpoint of any known layout, a file or a folder (see `load_checkpoint`); None for the shipped weights. The
            checkpoint decides which networks there are and how wide they are, whatever the config says.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        detector: what finds the objects, see `build_detector`; None for 'auto'.
        score_thr: the lowest score of a usable instance; None for the detector's own.
        max_instances: how many instances of a photo are coloured on their own, the best ones.
        min_size: the shortest side of a usable instance, in pixels of the photo.
        input_size: side of the squares that the networks see, a multiple of 8; None for what the weights were trained at.
        show_progress: whether to show a progress bar.

    Raises:
        ValueError: there is no such device, or the checkpoint cannot be used.
        FileNotFoundError: there is no such config, or a named detector's file is missing.
    """

    visualize_kwargs = {'native_size', 'upsampling', 'saturation', 'strength'}
    forward_kwargs = {'show_fusion'}
    postprocess_kwargs = {'show_instances', 'save_json'}

    model: Colorizer

    def __init__(
        self,
        model: str | Path | Config | None = None,
        weights: str | Path | None = None,
        device: str = 'auto',
        detector: Any = None,
        score_thr: float | None = None,
        max_instances: int = 8,
        min_size: float = 0.0,
        input_size: int | None = None,
        show_progress: bool = True,
    ) -> None:
        cfg = model if isinstance(model, Config) else Config.fromfile(find_config(model or DEFAULT_CONFIG))
        device = resolve_device(device)
        self.input_size = input_size
        super().__init__(cfg, str(weights or DEFAULT_WEIGHTS), device, SCOPE, show_progress)
        self.max_instances = max_instances
        self.min_size = min_size
        self._wanted_detector = (detector, cfg.get('detector'), score_thr)
        self._detector: InstanceDetector | None = None
        self.detects_always = detector is not None
        self._said_colour = False

    def _init_model(self, cfg: Config, weights: str, device: str) -> Colorizer:
        checkpoint = load_checkpoint(weights)
        model = colorizer_for(checkpoint, cfg.model)
        self.input_size = int(self.input_size or checkpoint.metadata.get('input_size') or cfg.get('input_size', 256))
        if self.input_size < 8 or self.input_size % 8:
            raise ValueError(f'input_size must be a positive multiple of 8, but got {self.input_size}')
        used = 'the fused network' if isinstance(model, InstColorizer) else 'the full-image network alone'
        logger.info(
            '%s: %s, width %g, at %d x %d; photos are coloured by %s',
            Path(weights).name,
            ', '.join(checkpoint.networks),
            checkpoint.width,
            self.input_size,
            self.input_size,
            used,
        )
        return model.to(device)

    def _init_pipeline(self, cfg: Config) -> Any:
        return self.pack

    @property
    def fused(self) -> bool:
        """Whether instances are coloured on their own; a checkpoint of the full-image network cannot."""
        return isinstance(self.model, InstColorizer)

    @property
    def detector(self) -> InstanceDetector:
        """What finds the objects, built when it is first needed."""
        if self._detector is None:
            spec, configured, score_thr = self._wanted_detector
            device = next(self.model.parameters()).device
            self._detector = build_detector(spec or 'auto', str(device), configured, score_thr=score_thr)
        return self._detector

    def __call__(
        self,
        inputs: Input | Sequence[Input],
        return_datasamples: bool = False,
        batch_size: int = 1,
        out_dir: str | Path | None = None,
        recursive: bool = False,
        suffix: str = '.png',
        overwrite: bool = False,
        on_error: Literal['raise', 'collect'] = 'raise',
        **kwargs: Any,
    ) -> dict[str, list]:
        """Colours photos, a batch at a time; memory does not grow with their number when they are written.

        Args:
            inputs: paths, folders, glob patterns, URLs or arrays (H, W), (H, W, 3) RGB or (H, W, 4) RGBA; one or a list.
            return_datasamples: whether `predictions` holds `ColorizationSample` instead of plain records.
            batch_size: how many photos go through the networks at once.
            out_dir: folder to write to; None to get the pictures back instead.
            recursive: whether to look into sub-folders, which the results mirror.
            suffix: format of the results, '.png', '.jpg', '.tif', '.webp' or 'same' for each photo's own.
            overwrite: whether results that exist are made again; otherwise they are skipped and counted.
            on_error: 'raise' the first photo's error, or 'collect' errors in the records and go on.
            **kwargs: arguments of `forward`, `visualize` and `postprocess`.

        Returns:
            `predictions`: a record a photo (`photo`, `output`, `status` done, skipped or failed, `reason`, and when it is done
            `size`, `network`, `boxes`, `scores`); `visualization`: the colour pictures, RGB in each photo's own depth,
            or nothing when they were written.
        """
        _, forward_kwargs, visualize_kwargs, postprocess_kwargs = self._dispatch_kwargs(**kwargs)
        several = isinstance(inputs, Sequence) and not isinstance(inputs, str)
        jobs = plan(inputs if several else [inputs], out_dir, recursive, suffix)  # type: ignore[list-item]
        predictions: list[Any] = []
        pictures: list[np.ndarray] = []
        starts = range(0, len(jobs), batch_size)
        for start in track(starts, 'photos', disable=not self.show_progress, transient=True):
            batch = jobs[start : start + batch_size]
            records: dict[Job, Any] = {}
            ready = []
            for job in batch:
                if job.target is not None and job.target.exists() and not overwrite:
                    records[job] = _record(job, 'skipped')
                elif prepared := self._attempt(job, records, on_error, self.prepare, job):
                    ready.append(prepared)
            samples = self.forward(self.collate_fn([item.data for item in ready]), **forward_kwargs) if ready else []
            for item, sample in zip(ready, samples, strict=True):
                picture = self._attempt(
                    item.job, records, on_error, self._finish, item, sample, visualize_kwargs, postprocess_kwargs
                )
                if picture is None:
                    continue
                record = _record(item.job, 'done') | self._describe(item)
                records[item.job] = sample if return_datasamples else record
                if item.job.target is None:
                    pictures.append(picture)
            predictions += [records[job] for job in batch]
        return {'predictions': predictions, 'visualization': pictures}

    @staticmethod
    def _attempt(job: Job, records: dict[Job, Any], on_error: str, step: Any, *args: Any) -> Any:
        """Does a step of one photo; with 'collect' its error becomes the photo's record and the result None."""
        try:
            return step(*args)
        except (ValueError, OSError) as error:
            if on_error == 'raise':
                raise
            records[job] = _record(job, 'failed') | {'reason': str(error)}
            return None

    def prepare(self, job: Job) -> Prepared:
        """Reads a photo, finds its instances and cuts them out.

        Raises:
            ImageReadError: there is no readable photo.
            ValueError: a box of it is unusable.
        """
        photo = job.load()
        if photo.is_colour and not self._said_colour:
            self._said_colour = True
            logger.warning('%s is in colour: only its lightness is used (said once)', job.name)
        image = photo.rgb8
        instances = Instances.empty(photo.size)
        if self.fused or self.detects_always:
            (found,) = self.detector.detect([image], [job.name])
            instances = select(found, self.detector.score_thr, self.min_size, self.max_instances)
        return Prepared(job, photo, instances, self.pack(image, instances))

    def pack(self, image: np.ndarray, instances: Instances) -> dict[str, Any]:
        """The networks' data of one photo (H, W, 3) uint8: `image` (3, S, S), `crops` (R, 3, S, S), a sample."""
        size = self.input_size
        inputs = {'image': _to_tensor(resize_photo(image, size))}
        if self.fused:
            inputs['crops'] = _to_tensor(crop_instances(image, instances, size))
        masks_off = replace(instances, masks=None)
        return {'inputs': inputs, 'data_samples': ColorizationSample(instances=masks_off)}

    @torch.inference_mode()
    def forward(self, inputs: dict, show_fusion: Sequence[str] = ()) -> list[ColorizationSample]:
        """Runs the networks on a collated batch.

        Args:
            inputs: collated data of N photos.
            show_fusion: rows of the network whose fusion weights to keep, such as 'conv3' or '3'.

        Returns:
            N samples with `pred_ab` (2, S, S) and, where asked for and there, `fusion_shares`.
        """
        rows = parse_rows(show_fusion)
        if not rows:
            return self.model.test_step(inputs)
        if not self.fused:
            raise ValueError('there are no fusion weights to show: the checkpoint holds the full-image network alone')
        with recorded_shares(self.model, rows) as shares:
            samples = self.model.test_step(inputs)
        counts = [len(sample.instances) for sample in samples]
        covered = [sample for sample, count in zip(samples, counts, strict=True) if count]
        for index, (sample, first) in enumerate(zip(covered, np.cumsum([0, *filter(None, counts)]), strict=False)):
            mine = slice(first, first + len(sample.instances))
            sample.fusion_shares = [(shares[row][0][index], shares[row][1][mine, 0]) for row in rows]
        return samples

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
        """
        if native_size:
            return [
                native_rgb(photo.rgb8, sample.pred_ab.cpu() * saturation * strength)
                for photo, sample in zip(inputs, preds, strict=True)
            ]
        return [
            colorize_pixels(
                photo.pixels, sample.pred_ab, upsampling=upsampling, saturation=saturation, strength=strength
            )
            for photo, sample in zip(inputs, preds, strict=True)
        ]

    def postprocess(  # type: ignore[override]
        self,
        preds: list[tuple[Prepared, ColorizationSample]],
        visualization: list[np.ndarray],
        return_datasamples: bool = False,
        show_instances: bool = False,
        save_json: bool = False,
    ) -> None:
        """Writes the results of photos that have a target; each file appears whole or not at all.

        Args:
            preds: N photos with their samples.
            visualization: their N pictures.
            return_datasamples: not used here; part of MMEngine's signature.
            show_instances: whether to write a sheet (grey | result | boxes) as `<result>.instances.png`.
            save_json: whether to write size, network, boxes and scores as `<result>.json`.
        """
        for (item, sample), picture in zip(preds, visualization, strict=True):
            target = item.job.target
            if target is None:
                continue
            _make_folder(target.parent)
            image = item.photo.rgb8
            if show_instances or 'fusion_shares' in sample:
                gray = colorize_pixels(image, np.zeros((2, 1, 1), np.float32), upsampling='bilinear')
            if show_instances:
                result = (picture // 257).astype(np.uint8) if picture.dtype == np.uint16 else picture
                write_photo(sheet(gray, result, item.instances), target.with_name(f'{target.name}.instances.png'))
            if 'fusion_shares' in sample:
                maps = fusion_sheet(gray, sample.fusion_shares)
                write_photo(maps, target.with_name(f'{target.name}.fusion.png'))
            if save_json:
                record = _record(item.job, 'done') | self._describe(item)
                _write_text(json.dumps(record, indent=1) + '\n', target.with_name(f'{target.name}.json'))
            # The photo itself comes last: where it exists, all that belongs to it does, and a repeated run skips it.
            write_photo(_with_picture(item.photo, picture), target)

    def _finish(
        self, item: Prepared, sample: ColorizationSample, visualize_kwargs: dict, postprocess_kwargs: dict
    ) -> np.ndarray:
        (picture,) = self.visualize([item.photo], [sample], **visualize_kwargs)
        self.postprocess([(item, sample)], [picture], **postprocess_kwargs)
        return picture

    def _describe(self, item: Prepared) -> dict[str, Any]:
        return {
            'size': list(item.photo.size),
            'network': 'fusion_net' if self.fused and len(item.instances) else 'image_net',
            'boxes': [[round(value, 2) for value in box] for box in item.instances.boxes.tolist()],
            'scores': [round(score, 4) for score in item.instances.scores.tolist()],
        }


def resolve_device(device: str) -> str:
    """The device that 'auto' or a name stands for.

    Raises:
        ValueError: there is no such device here.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == 'auto':
        return 'cuda' if count else 'cpu'
    known = ['cpu', *(['cuda'] if count else []), *(f'cuda:{index}' for index in range(count))]
    if device not in known:
        raise ValueError(f'there is no device {device!r} here; there are {", ".join(known)}')
    return device


def native_rgb(image: np.ndarray, ab: Tensor) -> np.ndarray:
    """The published code's picture: the photo at 256 x 256 with predicted colour, clipped to sRGB and rounded.

    Args:
        image: (H, W, 3) uint8.
        ab: (2, S, S) in network units.

    Returns:
        (256, 256, 3) uint8.
    """
    rgb = _to_tensor(resize_photo(image, NATIVE_SIZE)).float() / 255
    lightness, _ = to_network(rgb_to_lab(rgb))
    if ab.shape[-2:] != lightness.shape[-2:]:
        ab = F.interpolate(ab[None], lightness.shape[-2:], mode='bilinear', align_corners=False)[0]
    rgb = lab_to_rgb(from_network(lightness, ab)).clamp(0, 1)
    return (rgb * 255).round().byte().movedim(0, -1).numpy()


def _to_tensor(image: np.ndarray) -> Tensor:
    """(*, H, W, 3) -> (*, 3, H, W)."""
    return torch.from_numpy(np.array(image)).movedim(-1, -3)


def _with_picture(photo: Photo, picture: np.ndarray) -> Photo:
    if picture.shape == photo.pixels.shape:
        return photo.with_pixels(picture)
    alpha = photo.alpha
    if alpha is not None:
        alpha = alpha if alpha.dtype == np.uint8 else (alpha // 257).astype(np.uint8)
        alpha = np.asarray(Image.fromarray(alpha).resize(picture.shape[1::-1], Image.Resampling.BILINEAR))
    return replace(photo, pixels=picture, alpha=alpha, is_colour=True)


def _record(job: Job, status: str) -> dict[str, Any]:
    return {'photo': job.name, 'output': None if job.target is None else str(job.target), 'status': status}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f'cannot write to the folder {folder}: {error.strerror}') from error


def _write_text(text: str, path: Path) -> None:
    part = path.with_name(f'.{uuid.uuid4().hex}.tmp')
    try:
        part.write_text(text)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
