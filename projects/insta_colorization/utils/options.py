"""What a user can choose when photos are coloured: each name, default and help once, for command lines and Python.

A dataclass is a group of options, its class attributes are the defaults (`ObjectOptions.max_instances` is 8), and
making one checks the values. `utils.cli.add_options` gives a group to a command line. Nothing here imports torch, so
that a command can say at once how it is used.
"""

import math
import os
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Precision = Literal['auto', 'fp32', 'bf16', 'fp16']
Upsampling = Literal['guided', 'bilinear']
Marks = Literal['none', 'xmp', 'c2pa']

_MOST_WORKERS = 4


def option(default: Any, text: str, *, none: str | None = None, metavar: str | None = None, flag: str = '') -> Any:
    """A field of a group of options.

    Args:
        default: its value unless the user says otherwise.
        text: what the option does.
        none: what None stands for, where that is the default and stands for something.
        metavar: how the value is called in a command's help.
        flag: the option's name on a command line; by default the field's, with dashes.
    """
    text = text if none is None else f'{text}; default: {none}'
    return field(default=default, metadata={'help': text, 'metavar': metavar, 'flag': flag})


@dataclass(frozen=True, kw_only=True)
class ObjectOptions:
    """How objects are found.

    Raises:
        ValueError: a number is out of range.
    """

    detector: Any = option(
        None, 'auto, none, embedded, opencv, mmdet, FILE.onnx or mmdet CONFIG[:CHECKPOINT]', none='auto'
    )
    boxes: str | None = option(
        None, 'bounding boxes instead: COCO JSON, .npz of one photo, or folder of .npz', metavar='FILE'
    )
    max_instances: int = option(8, 'maximum number of objects, the best by score')
    score_thr: float | None = option(None, 'minimum score of an object', none="the detector's own")
    min_size: float = option(0.0, 'minimum side of an object in pixels')

    def __post_init__(self) -> None:
        if self.score_thr is not None and not math.isfinite(self.score_thr):
            raise ValueError(f'score_thr must be finite, but got {self.score_thr}')
        if self.max_instances < 0:
            raise ValueError(f'max_instances must be at least 0, but got {self.max_instances}')
        if not 0 <= self.min_size < math.inf:
            raise ValueError(f'min_size must be at least 0 and finite, but got {self.min_size}')


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Where and how the networks compute.

    Raises:
        ValueError: both a decoder and a preset are named.
    """

    device: str = option('auto', 'auto, cpu, cuda or cuda:N')
    precision: Precision = option('auto', 'number format; auto is bf16 where the device supports it')
    input_size: int | None = option(None, "side of the networks' square input", none="the weights' own")
    decoder: str | None = option(
        None, 'regression[:GAIN] or annealed-mean[:T], more vivid', none="the weights' own", metavar='NAME'
    )
    preset: str | None = option(
        None, 'safe, natural or vivid, of weights with presets', none='natural where there is one', metavar='NAME'
    )

    def __post_init__(self) -> None:
        if self.decoder is not None and self.preset is not None:
            raise ValueError(f'preset {self.preset!r} and decoder {self.decoder!r} exclude each other')


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Which files are read.

    Raises:
        ValueError: the number is out of range.
    """

    max_pixels: int = option(300_000_000, 'files with more pixels are refused', metavar='N')

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise ValueError(f'max_pixels must be at least 1, but got {self.max_pixels}')


@dataclass(frozen=True, kw_only=True)
class PaceOptions:
    """How much is done at once.

    Attributes:
        batch_size: how many photos the detector and the networks take at once, at most.
        crop_budget: how many crops of instances the photos of a batch may have together; a batch closes early before it
            has more, and a photo that has more by itself is alone in its batch.
        workers: how many threads read, pack and finish photos while the networks run; 0 does one thing after the other,
            None takes the number of processors, at most 4.

    Raises:
        ValueError: a number is out of range.
    """

    batch_size: int = option(1, 'photos that go through the networks at once')
    crop_budget: int = option(32, 'maximum number of objects in a batch', metavar='N')
    workers: int | None = option(
        None, 'threads that read and write photos', none=f'one per processor, up to {_MOST_WORKERS}', metavar='N'
    )

    def __post_init__(self) -> None:
        for name, least in {'batch_size': 1, 'crop_budget': 1, 'workers': 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f'{name} must be at least {least}, but got {value}')

    def threads(self, photos: int) -> int:
        """How many threads so many photos are worth."""
        if photos < 2:
            return 0
        return min(_MOST_WORKERS, os.cpu_count() or 1) if self.workers is None else self.workers


@dataclass(frozen=True, kw_only=True)
class ColourOptions:
    """How predicted colours get onto a photo.

    Raises:
        ValueError: a value is unknown or out of range.
    """

    native_size: bool = option(False, 'the size and the rounding of the published code')
    upsampling: Upsampling = option('guided', 'how colour is brought to full size')
    saturation: float = option(1.0, 'factor on the chroma')
    strength: float = option(1.0, '0 is grey, 1 full colour')
    strict_hints: bool | None = option(
        None, 'give what is hinted exactly the mean colours of its hints, but for points', none='objects with a mask'
    )

    def __post_init__(self) -> None:
        if self.upsampling not in get_args(Upsampling):
            known = ', '.join(get_args(Upsampling))
            raise ValueError(f'upsampling must be one of {known}, but got {self.upsampling!r}')
        if not 0 <= self.saturation < math.inf:
            raise ValueError(f'saturation must be at least 0 and finite, but got {self.saturation}')
        if not 0 <= self.strength <= 1:
            raise ValueError(f'strength must lie in 0..1, but got {self.strength}')
        if self.native_size and self.strict_hints:
            raise ValueError('native_size is what the published code writes, and strict_hints changes it: choose one')


@dataclass(frozen=True, kw_only=True)
class MarkOptions:
    """How results say that they were colourised.

    Raises:
        ValueError: a value is unknown, or options do not fit each other.
    """

    marks: Marks = option('xmp', 'how files say that they were colourised: not, in XMP, or also in C2PA')
    visible_mark: bool = option(False, 'also draw a small text into a corner')
    c2pa_cert: str | None = option(None, "PEM file of the signer's certificate chain", metavar='FILE')
    c2pa_key: str | None = option(None, 'PEM file of its private key, without a password', metavar='FILE')
    c2pa_timestamps: str | None = option(None, 'time-stamp server (RFC 3161) for signatures', metavar='URL')

    def __post_init__(self) -> None:
        if self.marks not in get_args(Marks):
            raise ValueError(f'marks must be one of {", ".join(get_args(Marks))}, but got {self.marks!r}')
        needed = {'c2pa_cert': self.c2pa_cert, 'c2pa_key': self.c2pa_key}
        given = {**needed, 'c2pa_timestamps': self.c2pa_timestamps}
        if self.marks == 'c2pa' and (missing := [name for name, value in needed.items() if not value]):
            raise ValueError(f'a C2PA manifest must be signed, but there is no {missing[0]}')
        if self.marks != 'c2pa' and (idle := [name for name, value in given.items() if value]):
            raise ValueError(f"{idle[0]} is of use with marks 'c2pa' alone, but marks is {self.marks!r}")


@dataclass(frozen=True, kw_only=True)
class ResultOptions(MarkOptions):
    """What is written and where.

    Raises:
        ValueError: a value is unknown or out of range.
    """

    out_dir: str | os.PathLike[str] | None = option('results', 'folder of the results')
    recursive: bool = option(False, 'search sub-folders and mirror them')
    suffix: str = option('png', "png, jpg, tif, webp, or same for each photo's own", flag='--format')
    quality: int = option(95, 'of JPEG and WebP, 1 to 100')
    pages: str = option('first', 'pages of a TIFF, frames of an animation: first, all, or N', metavar='PAGES')
    keep_times: bool = option(False, 'give results the modification times of their photos')
    overwrite: bool = option(False, 'write existing results again')
    show_instances: bool = option(False, 'sheet: grey | result | boxes')
    show_fusion: tuple[str, ...] = option((), 'fusion weight maps of these layers, e.g. 3 7 10', metavar='LAYER')
    save_json: bool = option(False, 'write the record of each photo as JSON', flag='--json')
    save_map: bool = option(False, 'write the class of each pixel, an indexed PNG')
    show_map: bool = option(False, 'sheet: grey | classes | result')

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.quality <= 100:
            raise ValueError(f'quality must lie in 1..100, but got {self.quality}')
        if self.pages not in ('first', 'all') and not (self.pages.isdecimal() and int(self.pages)):
            raise ValueError(f"pages must be 'first', 'all' or a number from 1, but got {self.pages!r}")


# What a photo of an archive goes through, in the order of its summary's times.
STAGES = ('read', 'detect', 'colour', 'write')


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions:
    """On which machines an archive is coloured, by how many workers at once.

    Attributes:
        address: 'local' starts Ray on this machine, 'auto' joins the cluster that this machine belongs to, 'ray://...'
            sends the whole run to another one.
        actors: how many workers there are at most; None for as many as the cluster has room for.
        cpus: processors of a worker.
        gpus: GPUs of a worker; several can share one.
        chunk: photos that a worker takes at a time; None for a thousandth of all, 16 to 4096, in whole batches.

    Raises:
        ValueError: a value is unknown or out of range.
    """

    address: str = option('local', 'local, auto for the cluster of this machine, or ray://HOST:PORT')
    actors: int | None = option(None, 'workers at most', none='as many as there is room for', metavar='N')
    cpus: float = option(1.0, 'processors of a worker', metavar='N')
    gpus: float = option(0.0, 'GPUs of a worker; 0.5 lets two share one', metavar='N')
    chunk: int | None = option(None, 'photos that a worker takes at a time', none='a thousandth of all', metavar='N')

    def __post_init__(self) -> None:
        if self.address not in ('local', 'auto') and not self.address.startswith('ray://'):
            raise ValueError(f'address must be local, auto or ray://HOST:PORT, but got {self.address!r}')
        for name in ('actors', 'chunk'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f'{name} must be at least 1, but got {value}')
        if not 0 < self.cpus < math.inf:
            raise ValueError(f'cpus must be above 0 and finite, but got {self.cpus}')
        if not 0 <= self.gpus < math.inf:
            raise ValueError(f'gpus must be at least 0 and finite, but got {self.gpus}')
