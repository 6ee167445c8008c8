"""Compiled kernels between the matrix products of a transformer block: bfloat16 in memory, float32 in registers.

bfloat16 arrays come as uint16: their bits are the upper half of a float32's. Every kernel works on the rows `first` to `last`,
so that threads can share them, and on whole vectors of sixteen: row lengths are multiples of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..render.simd import FLAGS, LANES, floor, load, maximum, minimum, splat, store, total, vector, where_greater

OPTIONS = dict(cache=True, nogil=True, fastmath=set(FLAGS), error_model="numpy")
EPSILON = np.float32(1e-5)  # torch's in layer_norm
ONE, HALF, ZERO = np.float32(1), np.float32(0.5), np.float32(0)
LOG2_E, SMALLEST = np.float32(math.log2(math.e)), np.float32(-126)
WORD, SHORT = ir.VectorType(ir.IntType(32), LANES), ir.VectorType(ir.IntType(16), LANES)


def _coefficients(function: Callable, degree: int, limit: float) -> tuple[np.float32, ...]:
    """Of the polynomial nearest to `function` on [0, limit], constant term first."""
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(np.vectorize(function), degree, domain=[0, limit])
    return tuple(np.float32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


P0, P1, P2, P3, P4 = _coefficients(np.exp2, 4, 1)  # to 4e-6

# The normal distribution's upper tail is its density times Mills' ratio; beyond FAR the density is nought in bfloat16.
FAR, DENSITY = 5.5, np.float32(1 / math.sqrt(2 * math.pi))
M0, M1, M2, M3, M4, M5, M6, M7, M8 = _coefficients(lambda x: math.exp(x * x / 2) * math.erfc(x / 2**0.5) / 2, 8, FAR)  # 3e-4


def _pointer(context, builder, array_type, array, index, kind):
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


@intrinsic
def load_bf16(typingctx, array, index):
    """The sixteen bfloat16 that start at array[index] of a contiguous one-dimensional uint16 array, as float32."""

    def codegen(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        bits = builder.zext(builder.load(_pointer(context, builder, sig.args[0], args[0], at, SHORT), align=2), WORD)
        return builder.bitcast(builder.shl(bits, ir.Constant(WORD, [16] * LANES)), vector.llvm)

    return vector(array, index), codegen


@intrinsic
def store_bf16(typingctx, array, index, value):
    """Write the lanes of `value`, rounded to the nearest bfloat16 (ties away from zero), from array[index] on."""

    def codegen(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        constant = lambda number: ir.Constant(WORD, [number] * LANES)
        rounded = builder.add(builder.bitcast(args[2], WORD), constant(0x8000))
        short = builder.trunc(builder.lshr(rounded, constant(16)), SHORT)
        builder.store(short, _pointer(context, builder, sig.args[0], args[0], at, SHORT), align=2)
        return context.get_dummy_value()

    return types.void(array, index, vector), codegen


@intrinsic
def _two_to_the(typingctx, whole):
    """2^n for whole numbers n from -126 to 127."""

    def codegen(context, builder, sig, args):
        exponent = builder.add(builder.fptosi(args[0], WORD), ir.Constant(WORD, [127] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(WORD, [23] * LANES)), vector.llvm)

    return vector(vector), codegen


def _spread(place: int):
    @intrinsic
    def spread(typingctx, value):
        """Lane `place` of each four lanes in all four of them."""

        def codegen(context, builder, sig, args):
            lanes = ir.Constant(WORD, [lane // 4 * 4 + place for lane in range(LANES)])
            return builder.shuffle_vector(args[0], args[0], lanes)

        return value(value), codegen

    return spread


_first, _second, _third, _fourth = map(_spread, range(4))


@njit(**OPTIONS)
def _exp(x):
    """e^x for x <= 0 to about 4e-6, a thousandth of bfloat16's rounding; never below 2^-126."""
    power = maximum(x * LOG2_E, splat(SMALLEST))
    whole = floor(power)
    f = power - whole
    return ((((P4 * f + P3) * f + P2) * f + P1) * f + P0) * _two_to_the(whole)


@njit(**OPTIONS)
def add_norm(first, last, x, y, total_out, normal, scale):
    """total_out = x + y [rows, D] (float32, bfloat16), its rows normalised to mean 0 and deviation 1 (bfloat16), 1 / deviation.

    An empty y stands for zeros; total_out is then not written.
    """
    width = x.shape[1]
    sums = np.empty(width, np.float32)
    for row in range(first, last):
        source, out = x[row], normal[row]
        mean = splat(ZERO)
        for c in range(0, width, LANES):
            value = load(source, c)
            if len(y):
                value = value + load_bf16(y[row], c)
                store(total_out[row], c, value)
            store(sums, c, value)
            mean = mean + value
        average = total(mean) / np.float32(width)
        spread = splat(ZERO)
        for c in range(0, width, LANES):
            value = load(sums, c) - average
            spread = spread + value * value
        scale[row] = ONE / math.sqrt(total(spread) / np.float32(width) + EPSILON)
        for c in range(0, width, LANES):
            store_bf16(out, c, (load(sums, c) - average) * scale[row])


@njit(**OPTIONS)
def add(first, last, x, y):
    """x += y [rows, D] (float32, bfloat16)."""
    for row in range(first, last):
        for c in range(0, x.shape[1], LANES):
            store(x[row], c, load(x[row], c) + load_bf16(y[row], c))


@njit(**OPTIONS)
def norm_backward(first, last, v_normal, normal, scale, v_total, v_x, v_rounded):
    """v_x = v_total + the gradient through the normalisation [rows, D] (float32), and v_x in bfloat16."""
    width = normal.shape[1]
    for row in range(first, last):
        gradient, value, passed = v_normal[row], normal[row], v_total[row]
        mean, along = splat(ZERO), splat(ZERO)
        for c in range(0, width, LANES):
            v = load_bf16(gradient, c)
            mean = mean + v
            along = along + v * load_bf16(value, c)
        average, share = total(mean) / np.float32(width), total(along) / np.float32(width)
        for c in range(0, width, LANES):
            v = (load_bf16(gradient, c) - average - load_bf16(value, c) * share) * scale[row] + load(passed, c)
            store(v_x[row], c, v)
            store_bf16(v_rounded[row], c, v)


@njit(**OPTIONS)
def softmax(first, last, scores, factor):
    """Rows of scores [rows, T] become softmax(factor * scores), in place (factor > 0)."""
    width = scores.shape[1]
    terms = np.empty(width, np.float32)
    for row in range(first, last):
        line = scores[row]
        largest = load_bf16(line, 0)
        check = largest
        for c in range(LANES, width, LANES):
            score = load_bf16(line, c)
            largest = maximum(largest, score)
            check = check + score
        store(terms, 0, largest)
        top = terms[0]
        for c in range(1, LANES):
            top = max(top, terms[c])
        summed = splat(ZERO)
        for c in range(0, width, LANES):
            value = _exp((load_bf16(line, c) - top) * factor)
            store(terms, c, value)
            summed = summed + value
        weight = ONE / total(summed)
        if not math.isfinite(total(check)):
            weight = np.float32(np.nan)  # _exp gives a number for NaN; whoever feeds NaN must get NaN
        for c in range(0, width, LANES):
            store_bf16(line, c, load(terms, c) * weight)


@njit(**OPTIONS)
def softmax_backward(first, last, weights, v_weights, factor):
    """v_weights [rows, T] becomes the gradient of the scores that `softmax` made `weights` of, in place."""
    for row in range(first, last):
        weight, gradient = weights[row], v_weights[row]
        along = splat(ZERO)
        for c in range(0, weights.shape[1], LANES):
            along = along + load_bf16(weight, c) * load_bf16(gradient, c)
        mean = total(along)
        for c in range(0, weights.shape[1], LANES):
            store_bf16(gradient, c, load_bf16(weight, c) * (load_bf16(gradient, c) - mean) * factor)


@njit(**OPTIONS)
def gelu(first, last, x, out):
    """out [rows, D] = x Phi(x), Phi the normal distribution; x becomes the derivative, Phi(x) + x Phi'(x)."""
    for row in range(first, last):
        line, result = x[row], out[row]
        for c in range(0, x.shape[1], LANES):
            value = load_bf16(line, c)
            size = maximum(value, splat(ZERO) - value)
            power = _exp(size * size * -HALF)  # the density times the square root of 2 pi, which Mills' ratio has over
            m = minimum(size, splat(np.float32(FAR)))
            ratio = ((((((((M8 * m + M7) * m + M6) * m + M5) * m + M4) * m + M3) * m + M2) * m + M1) * m) + M0
            tail = power * ratio
            below = where_greater(value, splat(ZERO), splat(ONE) - tail, tail)
            store_bf16(result, c, value * below)
            store_bf16(line, c, below + value * power * DENSITY)


@njit(**OPTIONS)
def multiply(first, last, x, y):
    """x *= y [rows, D], both bfloat16."""
    for row in range(first, last):
        for c in range(0, x.shape[1], LANES):
            store_bf16(x[row], c, load_bf16(x[row], c) * load_bf16(y[row], c))


@njit(**OPTIONS)
def patches_of_rays(first, last, images, origins, matrices, patch, directions, tokens):
    """Rows of pixels of n images: their rays' unit directions, and 2 RGB - 1, o x d and d in the tokens of their patches.

    images and directions [n, H, W, 3]; origins [n, 3]; matrices [n, 3, 3] take (column, row, 1) to a ray; tokens
    [n, H / p, W / p, p, p, 9] bfloat16. A row of pixels is a row of one image: there are n H of them.
    """
    height, width = images.shape[1:3]
    values = np.empty(LANES, np.float32)
    bits = np.empty(LANES, np.uint16)
    values[:] = ZERO
    for job in range(first, last):
        n, i = job // height, job % height
        m, (ox, oy, oz) = matrices[n], (origins[n, 0], origins[n, 1], origins[n, 2])
        v = np.float32(i) + HALF
        for j in range(width):
            u = np.float32(j) + HALF
            x = m[0, 0] * u + m[0, 1] * v + m[0, 2]
            y = m[1, 0] * u + m[1, 1] * v + m[1, 2]
            z = m[2, 0] * u + m[2, 1] * v + m[2, 2]
            inverse = ONE / np.float32(math.sqrt(x * x + y * y + z * z))
            x, y, z = x * inverse, y * inverse, z * inverse
            directions[n, i, j, 0], directions[n, i, j, 1], directions[n, i, j, 2] = x, y, z
            for c in range(3):
                values[c] = images[n, i, j, c] + images[n, i, j, c] - ONE
            values[3], values[4], values[5] = oy * z - oz * y, oz * x - ox * z, ox * y - oy * x
            values[6], values[7], values[8] = x, y, z
            store_bf16(bits, 0, load(values, 0))
            token = tokens[n, i // patch, j // patch, i % patch, j % patch]
            for c in range(9):
                token[c] = bits[c]


@njit(**OPTIONS)
def turn(first, last, x, out, rows, cos, sin):
    """out = x turned as `RelativePoses.turned` does; both [B, T, h, d] bfloat16 with contiguous rows, d a multiple of 64.

    rows [B V, 4, 16] are the rows of the views' 4 x 4 matrices, four times each; cos and sin [n, d / 2] with the sign of the
    turn. Works on the tokens `first` to `last` of B T.
    """
    count, heads, width = x.shape[1], x.shape[2], x.shape[3]
    half, quarter, patches = width // 2, width // 4, len(cos)
    for token in range(first, last):
        b, t = token // count, token % count
        matrix, c, s = rows[token // patches], cos[t % patches], sin[t % patches]
        m0, m1, m2, m3 = load(matrix[0], 0), load(matrix[1], 0), load(matrix[2], 0), load(matrix[3], 0)
        for h in range(heads):
            source, target = x[b, t, h], out[b, t, h]
            for k in range(0, half, LANES):
                value = load_bf16(source, k)
                mixed = _first(value) * m0 + _second(value) * m1 + _third(value) * m2 + _fourth(value) * m3
                store_bf16(target, k, mixed)
            for k in range(0, quarter, LANES):
                a, b_ = load_bf16(source, half + k), load_bf16(source, half + quarter + k)
                store_bf16(target, half + k, a * load(c, k) - b_ * load(s, k))
                store_bf16(target, half + quarter + k, b_ * load(c, k) + a * load(s, k))
