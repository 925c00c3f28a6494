"""The fusion's kernels in Triton: the maths of `Canvas`, for all cells and all instances of a batch in one launch.

`fusion_kernel` launches them and is the only module that imports this one, since it needs triton.

Shape legend: N images, R instances over all of them, C channels, H x W a row's grid, h x w the crops' grid; P cells of
a tile, B channels of a block.

What the kernels take:

- `feature`, `out` (the result) and their gradients (N, C, H, W), with `strides` (n, c, y, x); `crops` and their
  gradients (R, C, h, w), with `crop_strides`. Any layout will do; where channels are next to each other
  (channels_last), so are the addresses that a warp reads.
- `image_weights` (N, 1, H, W) and, not resized yet, `crop_weights` (R, 1, h, w), contiguous float32.
- `total` (N, 1, H, W) float32, which `blend` leaves for the gradients: the log of the softmax's denominator, and where
  no box covers, the image's weight itself, so that its share is exactly one.
- `members` (R, 6) int32, a row (image, number, y0, x0, y1, x1) for each instance, sorted by image; those of image n are
  the rows `offsets`[n] to `offsets`[n + 1].
- `tile_height` x `tile_width` = P and `block` = B.
"""

# mypy: disable-error-code="no-untyped-def"
# (What a kernel takes are addresses and numbers of the compiled language; only its `constexpr` have a Python type.)

import triton
import triton.language as tl

# Sizes as plain numbers: a size of 1 is not worth a compilation of its own.
_SIZES = ['height', 'width', 'crop_height', 'crop_width']


@triton.jit
def _tile(height, width, tile_height: tl.constexpr, tile_width: tl.constexpr):
    """This program's tile of a map: its top and left, and its cells' rows, columns and whether they are inside (P,)."""
    tiles_across = tl.cdiv(width, tile_width)
    top = tl.program_id(0) // tiles_across * tile_height
    left = tl.program_id(0) % tiles_across * tile_width
    cell = tl.arange(0, tile_height * tile_width)
    y = top + cell // tile_width
    x = left + cell % tile_width
    return top, left, y, x, (y < height) & (x < width)


@triton.jit
def _source(position, box_size, crop_size):
    """Where F.interpolate (bilinear, align_corners=False) takes a box's cell from: near and far index, far's share."""
    scale = tl.div_rn(crop_size.to(tl.float32), box_size.to(tl.float32))
    source = tl.maximum((position.to(tl.float32) + 0.5) * scale - 0.5, 0.0)
    near = tl.minimum(source.to(tl.int32), crop_size - 1)
    return near, tl.minimum(near + 1, crop_size - 1), tl.minimum(source - near.to(tl.float32), 1.0)


@triton.jit
def _bilinear(base, near_row, far_row, share_y, near_column, far_column, share_x, mask):
    """Interpolates at addresses `base` + row + column, in float32."""
    near_near = tl.load(base + near_row + near_column, mask=mask, other=0.0).to(tl.float32)
    near_far = tl.load(base + near_row + far_column, mask=mask, other=0.0).to(tl.float32)
    far_near = tl.load(base + far_row + near_column, mask=mask, other=0.0).to(tl.float32)
    far_far = tl.load(base + far_row + far_column, mask=mask, other=0.0).to(tl.float32)
    near = (1 - share_x) * near_near + share_x * near_far
    far = (1 - share_x) * far_near + share_x * far_far
    return (1 - share_y) * near + share_y * far


@triton.jit
def _member(members, index):
    member = members + index * 6
    return (
        tl.load(member + 1).to(tl.int64),
        tl.load(member + 2),
        tl.load(member + 3),
        tl.load(member + 4),
        tl.load(member + 5),
    )


@triton.jit(do_not_specialize=_SIZES)
def blend(
    feature,
    out,
    image_weights,
    crops,
    crop_weights,
    total,
    offsets,
    members,
    channels,
    height,
    width,
    crop_height,
    crop_width,
    strides,
    crop_strides,
    in_place: tl.constexpr,
    tile_height: tl.constexpr,
    tile_width: tl.constexpr,
    block: tl.constexpr,
):
    """One tile of one image, B channels: out = sum_i softmax(w)_i * x_i over the image and its instances.

    A softmax in one pass: `peak` is the largest weight so far, and sums are those of exp(w - peak). `in_place`, where
    `out` is `feature`, cells that no box covers are left alone, and `total` is not written.
    """
    image = tl.program_id(2).to(tl.int64)
    top, left, y, x, inside = _tile(height, width, tile_height, tile_width)
    c = tl.program_id(1) * block + tl.arange(0, block)
    crop_channels = (crops + c * crop_strides[1])[None, :]
    first = tl.load(offsets + image)
    last = tl.load(offsets + image + 1)
    cell = image * height * width + y * width + x
    image_weight = tl.load(image_weights + cell, mask=inside, other=0.0)
    peak = image_weight
    denominator = tl.zeros_like(image_weight)
    sums = tl.zeros((tile_height * tile_width, block), tl.float32)
    covers = tl.zeros_like(y)
    for index in range(first, last):
        number, y0, x0, y1, x1 = _member(members, index)
        if (y0 < top + tile_height) & (y1 > top) & (x0 < left + tile_width) & (x1 > left):
            here = inside & (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
            near_y, far_y, share_y = _source(y - y0, y1 - y0, crop_height)
            near_x, far_x, share_x = _source(x - x0, x1 - x0, crop_width)
            weight = _bilinear(
                crop_weights + number * crop_height * crop_width,
                near_y * crop_width,
                far_y * crop_width,
                share_y,
                near_x,
                far_x,
                share_x,
                here,
            )
            value = _bilinear(
                crop_channels + number * crop_strides[0],
                (near_y * crop_strides[2])[:, None],
                (far_y * crop_strides[2])[:, None],
                share_y[:, None],
                (near_x * crop_strides[3])[:, None],
                (far_x * crop_strides[3])[:, None],
                share_x[:, None],
                here[:, None] & (c < channels)[None, :],
            )
            weight = tl.where(here, weight, float('-inf'))
            new_peak = tl.maximum(peak, weight)
            kept, added = tl.exp(peak - new_peak), tl.exp(weight - new_peak)
            sums = kept[:, None] * sums + added[:, None] * value
            denominator = kept * denominator + added
            peak = new_peak
            covers += here.to(tl.int32)
    # The instances of this image whose boxes are elsewhere: weights of zero for features of zero. See `Canvas`.
    absent = (last - first - covers).to(tl.float32)
    covered = covers > 0
    new_peak = tl.where(absent > 0, tl.maximum(peak, 0.0), peak)
    kept, image_share = tl.exp(peak - new_peak), tl.exp(image_weight - new_peak)
    denominator = kept * denominator + image_share + absent * tl.exp(-tl.maximum(new_peak, 0.0))
    written = covered if in_place else inside
    channel = image * strides[0] + (y * strides[2] + x * strides[3])[:, None] + (c * strides[1])[None, :]
    mask = written[:, None] & (c < channels)[None, :]
    own = tl.load(feature + channel, mask=mask, other=0.0).to(tl.float32)
    blended = (kept[:, None] * sums + image_share[:, None] * own) / denominator[:, None]
    tl.store(out + channel, tl.where(covered[:, None], blended, own), mask=mask)
    if not in_place:
        log_sum = tl.where(covered, new_peak + tl.log(denominator), image_weight)
        tl.store(total + cell, log_sum, mask=inside & (tl.program_id(1) == 0))


@triton.jit(do_not_specialize=_SIZES)
def gradients(
    grad,
    feature,
    out,
    image_weights,
    total,
    crops,
    crop_weights,
    grad_feature,
    grad_image_weights,
    grad_crop_weights,
    offsets,
    members,
    channels,
    height,
    width,
    crop_height,
    crop_width,
    strides,
    crop_strides,
    with_feature: tl.constexpr,
    tile_height: tl.constexpr,
    tile_width: tl.constexpr,
    block: tl.constexpr,
):
    """One tile of one image, all channels: gradients of the image's feature and of all weights.

    With s the softmax of w: d out / d x_i = s_i and d out / d w_i = s_i * (x_i - out). A crop's weight map gets its
    gradient by atomic adds, four for a cell: it has one channel, so there are few of them, and gathering would need the
    sums over all channels a second time. Their order, and so the last bit, is not the same every time, as in the
    backward pass of F.interpolate on CUDA. The feature's gradient is written only `with_feature`.
    """
    image = tl.program_id(2).to(tl.int64)
    top, left, y, x, inside = _tile(height, width, tile_height, tile_width)
    cell = image * height * width + y * width + x
    channel = image * strides[0] + (y * strides[2] + x * strides[3])[:, None]
    denominator = tl.load(total + cell, mask=inside, other=0.0)
    share = tl.exp(tl.load(image_weights + cell, mask=inside, other=0.0) - denominator)
    products = tl.zeros((tile_height * tile_width, block), tl.float32)
    for start in range(0, channels, block):
        c = start + tl.arange(0, block)
        at = channel + (c * strides[1])[None, :]
        mask = inside[:, None] & (c < channels)[None, :]
        slope = tl.load(grad + at, mask=mask, other=0.0).to(tl.float32)
        own = tl.load(feature + at, mask=mask, other=0.0).to(tl.float32)
        products += slope * (own - tl.load(out + at, mask=mask, other=0.0).to(tl.float32))
        if with_feature:
            tl.store(grad_feature + at, share[:, None] * slope, mask=mask)
    tl.store(grad_image_weights + cell, share * tl.sum(products, 1), mask=inside)
    for index in range(tl.load(offsets + image), tl.load(offsets + image + 1)):
        number, y0, x0, y1, x1 = _member(members, index)
        if (y0 < top + tile_height) & (y1 > top) & (x0 < left + tile_width) & (x1 > left):
            here = inside & (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
            near_y, far_y, share_y = _source(y - y0, y1 - y0, crop_height)
            near_x, far_x, share_x = _source(x - x0, x1 - x0, crop_width)
            weights = crop_weights + number * crop_height * crop_width
            near_row, far_row = near_y * crop_width, far_y * crop_width
            weight = _bilinear(weights, near_row, far_row, share_y, near_x, far_x, share_x, here)
            products = tl.zeros((tile_height * tile_width, block), tl.float32)
            for start in range(0, channels, block):
                c = start + tl.arange(0, block)
                at = channel + (c * strides[1])[None, :]
                mask = here[:, None] & (c < channels)[None, :]
                value = _bilinear(
                    (crops + c * crop_strides[1])[None, :] + number * crop_strides[0],
                    (near_y * crop_strides[2])[:, None],
                    (far_y * crop_strides[2])[:, None],
                    share_y[:, None],
                    (near_x * crop_strides[3])[:, None],
                    (far_x * crop_strides[3])[:, None],
                    share_x[:, None],
                    mask,
                )
                slope = tl.load(grad + at, mask=mask, other=0.0).to(tl.float32)
                products += slope * (value - tl.load(out + at, mask=mask, other=0.0).to(tl.float32))
            log_share = tl.where(here, weight - denominator, float('-inf'))
            grad_weight = tl.exp(log_share) * tl.sum(products, 1)
            near, far = (1 - share_x) * grad_weight, share_x * grad_weight
            target = grad_crop_weights + number * crop_height * crop_width
            tl.atomic_add(target + near_row + near_x, (1 - share_y) * near, mask=here, sem='relaxed')
            tl.atomic_add(target + near_row + far_x, (1 - share_y) * far, mask=here, sem='relaxed')
            tl.atomic_add(target + far_row + near_x, share_y * near, mask=here, sem='relaxed')
            tl.atomic_add(target + far_row + far_x, share_y * far, mask=here, sem='relaxed')


@triton.jit
def _reached_from(position, box_size, crop_size):
    """The first of a box's cells that may read this row or column of the crop, and how many after it may, at most."""
    scale = tl.div_rn(crop_size.to(tl.float32), box_size.to(tl.float32))
    # Those whose `_source` is less than one away, and for rounding a sixteenth of a cell more at both ends.
    first = ((position.to(tl.float32) - 0.5) / scale - 0.5 + 15 / 16).to(tl.int32)
    return tl.maximum(first, 0), (2.0 / scale + 2 / 16).to(tl.int32) + 1


@triton.jit
def _part(position, box_size, crop_size, cell):
    """How much of a box's cell comes from this row or column of the crop; also the cell's `_source`."""
    near, far, share = _source(position, box_size, crop_size)
    part = tl.where(near == cell, 1 - share, 0.0) + tl.where(far == cell, share, 0.0)
    return tl.where(position < box_size, part, 0.0), near, far, share


@triton.jit(do_not_specialize=_SIZES)
def crop_gradients(
    grad,
    total,
    crop_weights,
    grad_crops,
    members,
    channels,
    height,
    width,
    crop_height,
    crop_width,
    strides,
    crop_strides,
    tile_height: tl.constexpr,
    tile_width: tl.constexpr,
    block: tl.constexpr,
):
    """One tile of one crop, B channels: gradients of the crop's features.

    It gathers, for each of the crop's cells, from the box's cells that read it: atomic adds would be C times as many as
    for the weights, and would need a copy of all crops in float32, filled with zeros, for half-precision features.
    """
    image = tl.load(members + tl.program_id(2) * 6).to(tl.int64)
    number, y0, x0, y1, x1 = _member(members, tl.program_id(2))
    _, _, row, column, inside = _tile(crop_height, crop_width, tile_height, tile_width)
    c = tl.program_id(1) * block + tl.arange(0, block)
    sums = tl.zeros((tile_height * tile_width, block), tl.float32)
    first_y, rows = _reached_from(row, y1 - y0, crop_height)
    first_x, columns = _reached_from(column, x1 - x0, crop_width)
    for down in range(rows):
        y = first_y + down
        part_y, near_y, far_y, share_y = _part(y, y1 - y0, crop_height, row)
        for along in range(columns):
            x = first_x + along
            part_x, near_x, far_x, share_x = _part(x, x1 - x0, crop_width, column)
            part = part_y * part_x
            mask = inside & (part > 0)
            weights = crop_weights + number * crop_height * crop_width
            near_row, far_row = near_y * crop_width, far_y * crop_width
            weight = _bilinear(weights, near_row, far_row, share_y, near_x, far_x, share_x, mask)
            cell = image * height * width + (y0 + y) * width + x0 + x
            log_share = tl.where(mask, weight - tl.load(total + cell, mask=mask, other=0.0), float('-inf'))
            at = (
                image * strides[0]
                + ((y0 + y) * strides[2] + (x0 + x) * strides[3])[:, None]
                + (c * strides[1])[None, :]
            )
            slope = tl.load(grad + at, mask=mask[:, None] & (c < channels)[None, :], other=0.0).to(tl.float32)
            sums += (part * tl.exp(log_share))[:, None] * slope
    at = (
        number * crop_strides[0]
        + (row * crop_strides[2] + column * crop_strides[3])[:, None]
        + (c * crop_strides[1])[None, :]
    )
    tl.store(grad_crops + at, sums, mask=inside[:, None] & (c < channels)[None, :])
