"""Inference for one photo: from a photo and a request to a picture."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch import Tensor

from insta_colorization.checkpoints import load_checkpoint
from insta_colorization.checkpoints.identity import identity, versions
from insta_colorization.colorspace import AB_RANGE, BinSet, in_srgb, lab_to_rgb, pixel_lightness
from insta_colorization.detectors import InstanceDetector, build_detector
from insta_colorization.detectors.selection import select
from insta_colorization.fileio.hints import Wish, names_objects, place_hints
from insta_colorization.fileio.stores import StoredFile
from insta_colorization.imaging.following import follow_hints
from insta_colorization.imaging.marks import Change, marked
from insta_colorization.imaging.photo import Photo, Source
from insta_colorization.imaging.rendering import colorize_pixels
from insta_colorization.models.decoders import parse_decoder
from insta_colorization.models.insta.inspection import fusion_rows, keep_shares, recorded_shares
from insta_colorization.models.language.steering import steer
from insta_colorization.models.modes import find_modes
from insta_colorization.registry import build_model
from insta_colorization.structures import ColorizationSample, Hint, Instances, Request, Size, hint_cells, resize_map
from insta_colorization.structures.request import Box
from insta_colorization.utils.configs import DEFAULT_WEIGHTS, config_of_weights, load_config, shipped_weights
from insta_colorization.utils.device import resolve_device, resolve_precision
from insta_colorization.utils.options import ColourOptions, InputOptions, NetworkOptions, ObjectOptions, Precision

from .build import chosen_preset, colorizer_for
from .jobs import load

logger = logging.getLogger(__name__)

# The largest input size; anything above is a mistake that would exhaust the memory.
_LARGEST_INPUT = 2**13

Weights = str | Path | Sequence[str | Path]
Boxes = np.ndarray | Tensor | Sequence[Sequence[float]]


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result for one photo.

    Attributes:
        source: the input photo.
        pixels: the picture, (H, W, 3) RGB with the photo's own size and depth.
        sample: `pred_ab` (2, S, S) in network units and the `instances` that were used.
        record: `photo` (its name), `output` (None), `status` ('done'), `size`, `network`, `boxes`, `scores`, notes of
            the model, and `hints` and `caption` if there are any; serializable as JSON.
        provenance: everything that determined the result, see `Predictor.provenance`.
    """

    source: Photo
    pixels: np.ndarray
    sample: ColorizationSample
    record: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def instances(self) -> Instances:
        """The instances of the photo that were used."""
        return self.sample.instances

    @property
    def map(self) -> np.ndarray | None:
        """The class of each pixel that colours follow, (H, W) uint8 at the photo's size; None if there is no map."""
        if 'full_map' in self.sample:
            return self.sample.full_map.ids
        return resize_map(self.sample.pred_map.numpy(), self.source.size) if 'pred_map' in self.sample else None

    @cached_property
    def change(self) -> Change:
        """What marks say about the colourisation; its time is that of the first access."""
        known = {name: self.provenance[name] for name in ('weights', 'config', 'settings')}
        asked = {name: self.record[name] for name in ('caption', 'hints', 'map') if name in self.record}
        return Change(known | asked)

    @property
    def photo(self) -> Photo:
        """The picture with the photo's metadata and the mark in its XMP, for `write_photo` and `encode_photo`."""
        return marked(self.unmarked, self.change)

    @property
    def unmarked(self) -> Photo:
        """The picture with the photo's metadata, without a mark."""
        if self.pixels.shape == self.source.pixels.shape:
            return self.source.with_pixels(self.pixels)
        alpha = self.source.alpha
        if alpha is not None:  # the published pictures have a size and a depth of their own
            small = Image.fromarray(Photo.from_array(alpha).rgb8[..., 0])
            size = self.pixels.shape[1], self.pixels.shape[0]
            alpha = np.asarray(small.resize(size, Image.Resampling.BILINEAR))
        return replace(self.source, pixels=self.pixels, alpha=alpha, is_colour=True)


class Suggestion(NamedTuple):
    """A likely colour of an object.

    Attributes:
        ab: a and b of CIELAB.
        rgb: sRGB in 0..255 at the mean lightness of the object.
        share: its probability, 0..1; those of all colours add up to 1.
    """

    ab: tuple[float, float]
    rgb: tuple[int, int, int]
    share: float


class Predictor:
    """Colours photos.

    ```python
    predictor = Predictor()  # the bundled weights; weights=FILE_OR_FOLDER takes any known layout
    picture = predictor.predict('photo.jpg').pixels  # (H, W, 3) RGB at the photo's own size and depth
    mine = predictor.predict(array, instances=[[10, 20, 200, 300]], saturation=1.2)
    data = encode_photo(mine.photo, '.png')
    ```

    Args:
        config: a path, the name of a recipe, or a config object; None for the recipe named in the weights' metadata, or
            else the paper's.
        weights: checkpoint of any known layout, a file or a folder (see `load_checkpoint`); None for the bundled
            weights of the config's backbone. The checkpoint decides which networks there are and how wide they are,
            whatever the config says.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        detector: finds the objects, see `build_detector`; None for 'auto', and then only if the model uses objects: a
            checkpoint of the full-image network alone cannot.
        score_thr: the minimum score of an instance; None for the detector's own.
        max_instances: the maximum number of detected instances that are used, the best by score.
        min_size: the minimum side of an instance, in pixels of the photo.
        input_size: side of the networks' square inputs; None for what the weights were made for.
        decoder: turns the networks' outputs into colour, 'regression', 'regression:GAIN', 'annealed-mean' or
            'annealed-mean:T' (see `parse_decoder`); None for what the checkpoint or the config says.
        preset: a decoder by its name in the checkpoint, such as 'vivid'; `model.presets` lists them.
        precision: the number format of inference, 'auto', 'fp32', 'bf16' or 'fp16', see `resolve_precision`; everything
            else is float32. With 'auto', `native_size` is float32 as well, because it promises the published numbers.
        max_pixels: how many pixels a file may have to be read, see `read_photo`.

    Attributes:
        model: the colorizer, on its device.
        input_size: side of the networks' square inputs.
        dtype: the number format of inference.

    Raises:
        ValueError: there is no such device or preset, the checkpoint or the config cannot be used, or a number is out
            of range.
        FileNotFoundError: there is no such config.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | Config | None = None,
        weights: Weights | None = None,
        device: str | torch.device = NetworkOptions.device,
        detector: Any = ObjectOptions.detector,
        *,
        score_thr: float | None = ObjectOptions.score_thr,
        max_instances: int = ObjectOptions.max_instances,
        min_size: float = ObjectOptions.min_size,
        input_size: int | None = NetworkOptions.input_size,
        decoder: str | None = NetworkOptions.decoder,
        preset: str | None = NetworkOptions.preset,
        precision: Precision = NetworkOptions.precision,
        max_pixels: int = InputOptions.max_pixels,
    ) -> None:
        self.input = InputOptions(max_pixels=max_pixels)
        self.objects = ObjectOptions(
            detector=detector, score_thr=score_thr, max_instances=max_instances, min_size=min_size
        )
        NetworkOptions(decoder=decoder, preset=preset)
        self.device = torch.device(resolve_device(str(device)))
        self.dtype = resolve_precision(precision, str(self.device))
        self._exact_dtype = torch.float32 if precision == 'auto' else self.dtype
        given = None if config is None else load_config(config)
        checkpoint = load_checkpoint(weights or (DEFAULT_WEIGHTS if given is None else shipped_weights(given.model)))
        self._weights_path = checkpoint.path
        self.config = load_config(config_of_weights(checkpoint.metadata)) if given is None else given
        parsed = None if decoder is None else parse_decoder(decoder)
        self._weights, self._hinted = checkpoint.path.name, checkpoint.family.follows_hints(checkpoint)
        self.model = colorizer_for(checkpoint, self.config.model, parsed, preset).to(self.device)
        # Batches are copied to a GPU while it works on the one before.
        self.model.data_preprocessor._non_blocking = self.device.type == 'cuda'
        said = checkpoint.metadata.get('input_size')
        if said and not said.isdecimal():
            raise ValueError(f'the metadata of {checkpoint.path} cannot be used: input_size is {said!r}')
        made_for = int(said or self.config.get('input_size') or self.model.native_size)
        self.input_size = made_for if input_size is None else input_size
        divisor = self.model.size_divisor
        if self.input_size < divisor or self.input_size % divisor:
            raise ValueError(f'input_size must be a positive multiple of {divisor}, but got {self.input_size}')
        if self.input_size > _LARGEST_INPUT:
            raise ValueError(f'input_size must be at most {_LARGEST_INPUT}, but got {self.input_size}')
        logger.info(
            '%s: %s, at %d x %d; photos are coloured by the %s, decoded by %s, in %s',
            checkpoint.path.name,
            checkpoint.summary,
            self.input_size,
            self.input_size,
            self.model.networks[-1],
            self.model.decoder.title(),
            str(self.dtype).removeprefix('torch.'),
        )
        self._detector: InstanceDetector | None = None
        self._said_colour = False
        self._saying = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what is local to this process; a detector that is known by its name is rebuilt."""
        named = self.objects.detector is None or isinstance(self.objects.detector, str | Mapping)
        return vars(self) | {'_saying': None, '_detector': None if named else self._detector}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._saying = Lock()

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """The part of the provenance that is the same for all photos; hashing the weights takes a while."""
        return {'weights': identity(self._weights_path), 'versions': versions()}

    def provenance(self, colour: ColourOptions, decoder: str | None = None) -> dict[str, Any]:
        """Everything that determines the result, in JSON types: weights with their SHA-256, config, settings, versions.

        Args:
            colour: how colours are rendered.
            decoder: the title of the decoder that was used; None for the model's.
        """
        detector = type(self._detector).__name__ if self.detects and self._detector is not None else None
        return {
            'weights': self._origin['weights'],
            'config': Path(self.config.filename).stem if self.config.filename else None,
            'settings': {
                **vars(colour),
                'input_size': self.input_size,
                'decoder': decoder or self.model.decoder.title(),
                'precision': str(self.dtype).removeprefix('torch.'),
                'device': self.device.type,
                'detector': detector,
                'score_thr': self.objects.score_thr,
                'max_instances': self.objects.max_instances,
                'min_size': self.objects.min_size,
            },
            'versions': self._origin['versions'],
        }

    @property
    def detects(self) -> bool:
        """Whether the detector always runs: if the model uses objects, or a detector was named."""
        return 'instances' in self.model.uses or self.objects.detector is not None

    @property
    def follows_hints(self) -> bool:
        """Whether the networks were trained to follow hints."""
        return self._hinted

    @property
    def suggests(self) -> bool:
        """Whether the networks have a class head, from which colours can be suggested."""
        return hasattr(getattr(self.model, self.model.networks[-1]), 'class_head')

    @contextmanager
    def decoding(self, preset: str | None) -> Iterator[None]:
        """Decodes colours with one of the model's presets inside the context; None changes nothing.

        Raises:
            ValueError: there is no such preset.
        """
        own = self.model.decoder
        if preset is not None:
            self.model.decoder = build_model(chosen_preset(preset, self.model.presets, self._weights)).to(self.device)
        try:
            yield
        finally:
            self.model.decoder = own

    @property
    def detector(self) -> InstanceDetector:
        """The instance detector, built at first use."""
        if self._detector is None:
            spec = 'auto' if self.objects.detector is None else self.objects.detector
            self._detector = build_detector(
                spec,
                str(self.device),
                self.config.get('detector'),
                masks='masks' in self.model.uses,
                score_thr=self.objects.score_thr,
            )
        return self._detector

    def predict(
        self,
        photo: Source,
        instances: Instances | Boxes | None = None,
        masks: np.ndarray | Tensor | None = None,
        hints: Iterable[Hint | Wish | Mapping[str, Any]] = (),
        map: np.ndarray | None = None,
        caption: str | None = None,
        show_fusion: Sequence[str] = (),
        **colour: Any,
    ) -> Prediction:
        """Colours one photo.

        Args:
            photo: path, URL, bytes of a file, `Photo`, Pillow image, or array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.
            instances: the photo's objects, or their bounding boxes (R, 4) as x0, y0, x1, y1 in pixels, which are
                clipped to the photo; the detector does not run then.
            masks: (R, H, W), nonzero inside the instances; without `instances` the boxes are the extents of the masks.
            hints: colours of places in the photo: `Hint`s, or entries as in files of hints, such as
                `{'object': 0, 'color': 'red'}`, which may refer to objects by number (see `fileio.hints`).
            map: (H, W) integers, the class of each pixel.
            caption: a text that says which colours things have, such as 'a red bus and two yellow taxis'. For a model
                that does not read captions it becomes hints, which the picture follows strictly (see
                `models.language.steering`).
            show_fusion: rows of the network whose fusion weights are kept as `fusion_shares` of the sample.
            colour: `native_size`, `upsampling`, `saturation`, `strength`, `strict_hints`, see `ColourOptions`.

        Raises:
            ImageReadError: there is no readable photo.
            ValueError: an argument is out of range, does not fit the photo, or cannot be used by the model.
        """
        options = ColourOptions(**colour)
        source = self.read(photo)
        found = _given(source.size, instances, masks)
        said = [hint if isinstance(hint, Hint | Wish) else Wish.parse(hint) for hint in hints]
        wishes = [hint for hint in said if isinstance(hint, Wish)]
        given = tuple(hint for hint in said if isinstance(hint, Hint))
        request = Request(found, given, map, caption, options.native_size)
        self.check(request)
        name = _name(photo)
        if found is None:
            nothing = [Instances.empty(source.size)]
            detect = self.detects or self.steers(caption) or names_objects(wishes)
            (found,) = self.find([source], [name], options.native_size) if detect else nothing
        request = self.wish(source, replace(request, instances=found), wishes)
        (sample,) = self.color([self.pack(source, request, name)], show_fusion, exact=options.native_size)
        return self.finish(source, sample, options)

    def suggest_colors(
        self,
        photo: Source,
        box: Sequence[float] | None = None,
        mask: np.ndarray | Tensor | None = None,
        count: int = 5,
    ) -> list[Suggestion]:
        """Likely colours of an object, most likely first: the modes of its predicted distribution of colour classes.

        Args:
            photo: see `predict`.
            box: x0, y0, x1, y1 in pixels of the photo, around the object; None for the extent of the mask.
            mask: (H, W), nonzero inside the object; None for the ellipse in the box.
            count: the maximum number of suggestions.

        Raises:
            ImageReadError: there is no readable photo.
            ValueError: there is neither a box nor a mask, they do not fit the photo, or the count is below 1.
        """
        if box is None and mask is None:
            raise ValueError('suggest_colors needs the box or the mask of an object, but got neither')
        if count < 1:
            raise ValueError(f'count must be at least 1, but got {count}')
        source = self.read(photo)
        boxes, masks = None if box is None else [box], None if mask is None else torch.as_tensor(mask)[None]
        instances = _given(source.size, boxes, masks)
        if instances is None or not len(instances):
            raise ValueError(f'the box {box} has no area in the photo of size {source.size}')
        (suggestions,) = self._suggestions(source, instances, count)
        return suggestions

    def variants(
        self,
        photo: Source,
        count: int = 4,
        seed: int = 0,
        instances: Instances | Boxes | None = None,
        masks: np.ndarray | Tensor | None = None,
        **colour: Any,
    ) -> list[Prediction]:
        """Different plausible pictures of one photo, in which each object has another of its suggested colours.

        The colours of an object shift as a whole and keep their variation; an object without a mask is treated as the
        ellipse in its box. The surroundings are the same in all pictures.

        Args:
            photo: see `predict`.
            count: the number of pictures.
            seed: the same seed gives the same pictures.
            instances: see `predict`.
            masks: see `predict`.
            colour: see `predict`.

        Raises:
            ImageReadError: there is no readable photo.
            ValueError: an argument is out of range, or the photo has no objects.
        """
        options = ColourOptions(**{**colour, 'strict_hints': True})
        if count < 1:
            raise ValueError(f'count must be at least 1, but got {count}')
        source, name = self.read(photo), _name(photo)
        found = _given(source.size, instances, masks)
        if found is None:
            (found,) = self.find([source], [name])
        if not len(found):
            raise ValueError(f'the variants of a photo differ in its objects, but {name} has none')
        suggested = self._suggestions(source, found, count)
        generator = np.random.default_rng(seed)
        # Each object goes through its colours in a random order, the likely ones sooner.
        orders = [
            np.argsort(generator.exponential(size=len(each)) / [max(s.share, 1e-6) for s in each]) for each in suggested
        ]
        (plain,) = self.color([self.pack(source, Request(found), name)], exact=options.native_size)
        predictions = []
        for number in range(count):
            chosen = [each[order[number % len(each)]] for each, order in zip(suggested, orders, strict=True)]
            hints = (Hint(s.ab, *place) for s, place in zip(chosen, places(found), strict=True))
            sample = plain.clone()
            sample.set_metainfo({'used_hints': tuple(hints)})
            predictions.append(self.finish(source, sample, options))
        return predictions

    @torch.inference_mode()
    def _suggestions(self, photo: Photo, instances: Instances, count: int) -> list[list[Suggestion]]:
        """The likely colours of each of a photo's instances."""
        data = self.pack(photo, Request(instances))
        logits = self.model.colors(self.model.data_preprocessor(pseudo_collate([data])), classify=True).class_logits
        if logits is None:
            raise ValueError(f'{type(self.model).__name__} has no class head, of whose classes colours are suggested')
        shares = logits[0].float().softmax(dim=0).cpu()
        lightness = pixel_lightness(photo.pixels)
        suggestions = []
        for box, mask in places(instances):
            place = Hint((0.0, 0.0), box, mask)
            ((_, cells, inside),) = hint_cells([place], (0, 0, photo.size[1], photo.size[0]), shares.shape[-1])
            modes = find_modes(shares[(slice(None), *cells)][:, inside].flatten(1).mean(dim=1), BinSet().centres, count)
            level = float(lightness[box[1] : box[3], box[0] : box[2]][mask].mean())
            lab = in_srgb([(level, *(AB_RANGE * value for value in mode.ab)) for mode in modes])
            rgb = (lab_to_rgb(lab.T[..., None]).clamp(0, 1) * 255).round().int()[..., 0].T.tolist()
            suggestions.append(
                [
                    Suggestion((a, b), tuple(c), m.share)
                    for (_, a, b), c, m in zip(lab.tolist(), rgb, modes, strict=True)
                ]
            )
        return suggestions

    def check(self, request: Request) -> None:
        """Raises `ValueError` if a request contains something that the model cannot use."""
        if foreign := sorted(request.wishes - self.model.uses - {'caption'}):
            used = ', '.join(sorted(self.model.uses)) or 'the photo alone'
            raise ValueError(f'{type(self.model).__name__} cannot use {", ".join(foreign)}: it uses {used}')
        if request.hints and not self._hinted:
            raise ValueError(f'{self._weights} cannot follow hints, because it was trained without any')
        if request.native and self.steers(request.caption):
            raise ValueError(
                f'native_size is what the published code writes, and {type(self.model).__name__} was published without '
                'captions: choose one'
            )

    def steers(self, caption: str | None) -> bool:
        """Whether a caption becomes hints, because the model does not read captions itself."""
        return caption is not None and 'caption' not in self.model.uses

    def wish(self, photo: Photo, request: Request, wishes: Sequence[Wish]) -> Request:
        """Returns a request with the user's hints placed on a photo, on top of those it has; see `place_hints`.

        Raises:
            ValueError: a hint cannot be placed, or the model cannot use hints.
        """
        instances = Instances.empty(photo.size) if request.instances is None else request.instances
        request = replace(request, hints=(*request.hints, *place_hints(wishes, photo.pixels, instances)))
        self.check(request)
        return request

    def read(self, photo: Source | StoredFile, name: str | None = None) -> Photo:
        """Reads a photo; warns once if a photo is in colour.

        Raises:
            ImageReadError: there is no readable photo.
        """
        read = load(photo, self.input.max_pixels)
        with self._saying:
            if read.is_colour and not self._said_colour:
                self._said_colour = True
                logger.warning('%s is in colour: only its lightness is used (said once)', name or _name(photo))
        return read

    def find(self, photos: Sequence[Photo], names: Sequence[str], native: bool = False) -> list[Instances]:
        """Runs the detector on photos and selects the instances to use.

        Args:
            photos: the photos.
            names: their names in records.
            native: whether to select as the published pipeline does, see `Colorizer.native_takes_all`.

        Raises:
            ValueError: a bounding box is invalid.
        """
        found = self.detector.detect([photo.rgb8 for photo in photos], names)
        return [self.choose(each, self.detector.score_thr, native) for each in found]

    def choose(self, found: Instances, lowest: float, native: bool = False) -> Instances:
        """The instances of a photo to use, of those that were found with at least the score `lowest`; see `find`."""
        if native and self.model.native_takes_all:
            return found[found.scores >= lowest]
        return select(found, lowest, self.objects.min_size, self.objects.max_instances)

    def pack(self, photo: Photo, request: Request, name: str = '') -> dict[str, Any]:
        """Makes `inputs` and `data_samples` of one photo with the model's `pack`; may be called in any thread.

        Args:
            photo: the photo.
            request: its instances, hints, map and caption.
            name: its name in records.

        Raises:
            ValueError: the size of something in the request differs from the photo's.
        """
        request.check_size(photo.size)
        hints, steering = request.hints, None
        if request.caption is not None and self.steers(request.caption):
            found = Instances.empty(photo.size) if request.instances is None else request.instances
            steering = steer(request.caption, photo.pixels, found)
            hints = (*steering.hints, *hints)
            shown = tuple(hint for hint in hints if hint.strict in (None, 1)) if self._hinted else ()
            request = replace(request, caption=None, hints=shown)
        data = self.model.pack(photo.rgb8, request, self.input_size)
        sample = data['data_samples']
        sample.set_metainfo({'img_path': name, 'image_size': photo.size, 'used_hints': hints, 'steering': steering})
        if 'instances' not in sample:
            sample.instances = Instances.empty(photo.size) if request.instances is None else request.instances
        if self.device.type == 'cuda':
            data['inputs'] = {key: value.pin_memory() for key, value in data['inputs'].items()}
        return data

    def color(
        self, data: Sequence[dict[str, Any]], show_fusion: Sequence[str] = (), exact: bool = False
    ) -> list[ColorizationSample]:
        """Runs the networks on the data of several photos, see `pack` and `forward`."""
        return self.forward(pseudo_collate(data), show_fusion, exact)

    @torch.inference_mode()
    def forward(
        self, inputs: dict[str, Any], show_fusion: Sequence[str] = (), exact: bool = False
    ) -> list[ColorizationSample]:
        """Runs the networks on a collated batch.

        Args:
            inputs: collated data of N photos, see `pack`.
            show_fusion: rows of the network whose fusion weights to keep, such as 'conv3' or '3'.
            exact: whether to compute in float32 unless another precision was chosen explicitly.

        Returns:
            N samples with `pred_ab` (2, S, S) in network units, the title of their `decoder` and, if requested and
            available, `fusion_shares`.

        Raises:
            ValueError: a row is unknown, or nothing is fused.
        """
        dtype = self._exact_dtype if exact else self.dtype
        batch = self.model.data_preprocessor(inputs)
        rows = fusion_rows(self.model, show_fusion)
        if rows:
            with recorded_shares(self.model, rows) as shares:
                samples = self.model.predict(batch, dtype)
            keep_shares(samples, shares)
        else:
            samples = self.model.predict(batch, dtype)
        for sample in samples:
            sample.set_metainfo({'decoder': self.model.decoder.title()})
        return samples

    def finish(self, photo: Photo, sample: ColorizationSample, colour: ColourOptions) -> Prediction:
        """Combines the predicted colour with the photo's own lightness."""
        provenance = self.provenance(colour, sample.get('decoder'))
        return Prediction(photo, self.render(photo, sample, colour), sample, self.describe(sample), provenance)

    def render(self, photo: Photo, sample: ColorizationSample, colour: ColourOptions) -> np.ndarray:
        """The picture: (H, W, 3) RGB in the photo's size and depth, or the published code's with `native_size`."""
        if colour.native_size:
            return self.model.native_picture(photo.rgb8, sample, colour.saturation * colour.strength)
        hints = [hint for hint in sample.get('used_hints', ()) if hint.is_followed(colour.strict_hints)]
        return colorize_pixels(
            photo.pixels,
            follow_hints(sample.pred_ab, hints, photo.size) if hints else sample.pred_ab,
            patches=[patch for patch in sample.get('pred_patches', ()) if not _covers(patch.box, hints)],
            upsampling=colour.upsampling,
            saturation=colour.saturation,
            strength=colour.strength,
            curve=self.model.curve,
        )

    def describe(self, sample: ColorizationSample) -> dict[str, Any]:
        """The record of a coloured photo, see `Prediction`."""
        record = {
            'photo': sample.img_path,
            'output': None,
            'status': 'done',
            'size': list(sample.image_size),
            'network': self.model.network_for(sample),
            'boxes': [[round(value, 2) for value in box] for box in sample.instances.boxes.tolist()],
            'scores': [round(score, 4) for score in sample.instances.scores.tolist()],
            **self.model.notes(sample),
        }
        hints = [{'box': list(h.box), 'ab': [round(v, 2) for v in h.ab]} for h in sample.get('used_hints', ())]
        steering = sample.get('steering')
        return record | ({'hints': hints} if hints else {}) | ({'caption': steering.record} if steering else {})


def _given(size: Size, instances: Instances | Boxes | None, masks: np.ndarray | Tensor | None) -> Instances | None:
    """The instances that a user gave for a photo of this size; None if none were given."""
    if masks is None:
        return Instances.clipped(instances, size) if not isinstance(instances, Instances | None) else instances
    masks = torch.as_tensor(masks) != 0
    if masks.ndim != 3 or tuple(masks.shape[1:]) != size:
        raise ValueError(f'masks must have shape (R, {size[0]}, {size[1]}) as the photo, but got {tuple(masks.shape)}')
    if instances is None:
        instances = [_extent(mask, number) for number, mask in enumerate(masks)]
    if not isinstance(instances, Instances):
        return Instances.clipped(instances, size, masks=masks)
    return instances.with_masks(masks)


def _extent(mask: Tensor, number: int) -> list[int]:
    """The smallest box around a mask (H, W)."""
    rows, columns = (mask.any(dim=axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    if not rows:
        raise ValueError(f'mask {number} is empty')
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def _covers(box: Sequence[int], hints: Sequence[Hint]) -> bool:
    """Whether a patch of colour in a box would hide something that hints have coloured."""
    return any(
        max(box[0], hint.box[0]) < min(box[2], hint.box[2]) and max(box[1], hint.box[1]) < min(box[3], hint.box[3])
        for hint in hints
        if hint.strict in (None, 1)
    )


def places(instances: Instances) -> Iterator[tuple[Box, np.ndarray]]:
    """Yields the box of each instance and its mask in it, (h, w) bool, or else the ellipse in the box."""
    for number, (x0, y0, x1, y1) in enumerate(instances.in_pixels().tolist()):
        mask = None if instances.masks is None else instances.masks[number].cpu().numpy()
        if mask is None or not mask.any():
            across, down = (np.linspace(-1, 1, count + 2)[1:-1] for count in (x1 - x0, y1 - y0))
            mask = across**2 + down[:, None] ** 2 <= 1
        yield (x0, y0, x1, y1), mask


def _name(photo: Source | StoredFile) -> str:
    """What messages and records call a photo."""
    named = photo.path if isinstance(photo, Photo) else photo
    return str(named) if isinstance(named, str | os.PathLike) else 'photo'
