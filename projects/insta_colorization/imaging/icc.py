"""ICC profiles, as far as libvips leaves something to wish: their true length, and curves of grey (ICC.1:2010, 10)."""

import struct

import numpy as np

_HEADER_BYTES = 128
# Parameters of a parametric curve by its kind: how many there are, and which of g, a, b, c, d, e, f they are.
_PARAMETERS = ('g', 'gab', 'gabc', 'gabcd', 'gabcdef')


def of_own_length(profile: bytes) -> bytes | None:
    """A profile without what follows it, which PNG does not take; None for one that is shorter than it says."""
    length = int.from_bytes(profile[:4], 'big')
    return profile[:length] if _HEADER_BYTES <= length <= len(profile) else None


def grey_table(profile: bytes, dtype: np.dtype) -> np.ndarray | None:
    """What the values of a grey picture are in sRGB.

    Little CMS goes by a few points of the curve, which crushes shadows where its slope at black is not sRGB's.

    Args:
        profile: a profile of grey pixels.
        dtype: uint8 or uint16.

    Returns:
        (256,) or (65536,) of the dtype; None for a profile that says more than a curve, or nothing that can be used.
    """
    if profile[16:24] != b'GRAYXYZ ':
        return None
    # Here, because tools that read photos explain themselves without torch.
    import torch

    from insta_colorization.colorspace import from_linear

    top = np.iinfo(dtype).max
    try:
        tags = dict(_tags(profile))
        light = _curve(tags[b'kTRC'], np.arange(top + 1) / top)
    except (KeyError, ValueError, IndexError, struct.error):
        return None
    if b'A2B0' in tags or not np.isfinite(light).all():
        return None
    return (from_linear(torch.from_numpy(light.clip(0, 1))).numpy() * top).round().astype(dtype)


def _tags(profile: bytes) -> list[tuple[bytes, bytes]]:
    """Names and contents of a profile's tags."""
    (count,) = struct.unpack_from('>L', profile, _HEADER_BYTES)
    places = struct.iter_unpack('>4sLL', profile[_HEADER_BYTES + 4 :][: 12 * count])
    return [(name, profile[start : start + length]) for name, start, length in places]


def _curve(tag: bytes, x: np.ndarray) -> np.ndarray:
    """Linear light of values in 0..1."""
    if tag[:4] == b'curv':
        (count,) = struct.unpack_from('>L', tag, 8)
        if count == 0:
            return x
        if count == 1:
            return x ** (struct.unpack_from('>H', tag, 12)[0] / 256)
        points = np.frombuffer(tag, '>u2', count, 12) / 65535
        return np.interp(x, np.linspace(0, 1, count), points)
    if tag[:4] != b'para':
        raise ValueError(f'a curve must be of type curv or para, but is {tag[:4]!r}')
    names = _PARAMETERS[struct.unpack_from('>H', tag, 8)[0]]
    given = dict(zip(names, (value / 65536 for value in struct.unpack_from(f'>{len(names)}l', tag, 12)), strict=True))
    g, a, b, c, d, e, f = (given.get(name, float(name == 'a')) for name in 'gabcdef')
    if len(names) <= 4 and names != 'gabcd':  # c is an offset here, and the line below is flat
        d, e, f, c = (-b / a if a else 0.0), c, c, 0.0
    with np.errstate(all='ignore'):
        return np.where(x >= d, (a * x + b).clip(0) ** g + e, c * x + f)
