"""Vectors for numba kernels, since LLVM leaves the compositing loop scalar: sixteen float32 or eight float64 at once.

`load`, `store` and `splat` move data; `+ - * /` work on vectors and on a vector with a scalar of its type; comparisons
give a mask, by which `choose` picks lane by lane; `where_*` compare and choose at once.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES, WIDE_LANES = 16, 8
FLAGS = ("contract", "reassoc", "nsz", "arcp", "afn")  # never nnan / ninf: comparisons with NaN must stay false


class Vector(types.Type):
    """`lanes` values of a scalar type."""

    def __init__(self, scalar: types.Float, lanes: int) -> None:
        self.scalar, self.lanes = scalar, lanes
        element = ir.FloatType() if scalar is types.float32 else ir.DoubleType()
        self.llvm, self.element = ir.VectorType(element, lanes), element
        super().__init__(name=f"{scalar}x{lanes}")


class Wide(Vector):
    """A class of its own, because numba registers a data model per class."""


class Mask(types.Type):
    """A truth value for each of sixteen lanes."""

    llvm = ir.VectorType(ir.IntType(1), LANES)


vector, wide, mask = Vector(types.float32, LANES), Wide(types.float64, WIDE_LANES), Mask("mask16")


def _register_model(kind: Vector | Mask) -> None:
    @register_model(type(kind))
    class _Model(models.PrimitiveModel):
        def __init__(self, manager, fe_type) -> None:
            super().__init__(manager, fe_type, kind.llvm)


_register_model(vector)
_register_model(wide)
_register_model(mask)


def _splat(builder, kind: Vector, value):
    one = builder.insert_element(ir.Constant(kind.llvm, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes)
    return builder.shuffle_vector(one, ir.Constant(kind.llvm, ir.Undefined), zeros)


def _register_operator(op, method: str) -> None:
    pairs = [p for v in (vector, wide) for p in ((v, v), (v, v.scalar), (v.scalar, v))]

    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if tuple(args) in pairs:
                kind = args[0] if isinstance(args[0], Vector) else args[1]
                return signature(kind, *args)

    for left, right in pairs:

        @lower_builtin(op, left, right)
        def _lower(context, builder, sig, args):
            kind = sig.return_type
            args = [a if t is kind else _splat(builder, kind, a) for a, t in zip(args, sig.args, strict=True)]
            return getattr(builder, method)(*args, flags=FLAGS)


for _op, _method in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")):
    _register_operator(_op, _method)


def _kind(array) -> Vector:
    return vector if array.dtype is types.float32 else wide


def _suffix(kind: Vector) -> str:
    return f"v{kind.lanes}f{32 if kind is vector else 64}"


def _address(context, builder, array_type, array, index):
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _kind(array_type).llvm.as_pointer())


@intrinsic
def load(typingctx, array, index):
    """The lanes that start at array[index] of a contiguous one-dimensional array."""

    def codegen(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        return builder.load(_address(context, builder, sig.args[0], args[0], at), align=4)

    return _kind(array)(array, index), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write the lanes of `value` from array[index] on."""

    def codegen(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        builder.store(args[2], _address(context, builder, sig.args[0], args[0], at), align=4)
        return context.get_dummy_value()

    return types.void(array, index, _kind(array)), codegen


@intrinsic
def fetch(typingctx, array, index):
    """array[index] of a contiguous one-dimensional array, without Python's question whether the index is negative."""

    def codegen(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        data = cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0]).data
        return builder.load(builder.gep(data, [at]))

    return array.dtype(array, index), codegen


@intrinsic
def splat(typingctx, value):
    """`value` in every lane."""
    kind = vector if value is types.float32 else wide
    return kind(kind.scalar), lambda context, builder, sig, args: _splat(builder, kind, args[0])


def _select(predicate: str):
    @intrinsic
    def where(typingctx, a, b, yes, no):
        def codegen(context, builder, sig, args):
            return builder.select(builder.fcmp_ordered(predicate, args[0], args[1]), args[2], args[3])

        return a(a, a, a, a), codegen

    return where


where_greater = _select(">")  # yes where a > b, else no (also where a or b is NaN)
where_greater_equal = _select(">=")


def _compare(predicate: str):
    @intrinsic
    def compare(typingctx, a, b):
        return mask(a, b), lambda context, builder, sig, args: builder.fcmp_ordered(predicate, args[0], args[1])

    return compare


greater, greater_equal = _compare(">"), _compare(">=")  # masks of float32 vectors; false where either is NaN


@intrinsic
def both(typingctx, a, b):
    """The lanes that two masks share."""
    return mask(a, b), lambda context, builder, sig, args: builder.and_(*args)


@intrinsic
def choose(typingctx, where, yes, no):
    """yes in the lanes of a mask, else no."""
    return yes(where, yes, no), lambda context, builder, sig, args: builder.select(*args)


@intrinsic
def any_lane(typingctx, where):
    """True if a mask holds in some lane."""

    def codegen(context, builder, sig, args):
        bits = ir.IntType(LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), ir.Constant(bits, 0))

    return types.boolean(where), codegen


@intrinsic
def lowest_bit(typingctx, bits):
    """Position of the lowest bit that is set in an int64 that is not 0."""

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


@intrinsic
def _misalignment(typingctx, array):
    def codegen(context, builder, sig, args):
        data = cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0]).data
        return builder.and_(builder.ptrtoint(data, ir.IntType(64)), ir.Constant(ir.IntType(64), 63))

    return types.int64(array), codegen


@njit(cache=True, nogil=True)
def aligned(array):
    """`array` [n] from the first line of the cache on, so that no vector crosses two; up to 63 bytes shorter."""
    return array[((64 - _misalignment(array)) & 63) // array.itemsize :]


def _extreme(predicate: str):
    @intrinsic
    def pick(typingctx, a, b):
        def codegen(context, builder, sig, args):
            return builder.select(builder.fcmp_ordered(predicate, args[0], args[1]), args[0], args[1])

        return a(a, a), codegen

    return pick


minimum, maximum = _extreme("<"), _extreme(">")  # lane by lane; b where either is NaN


@intrinsic
def total(typingctx, a):
    """Sum of the lanes."""

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(a.element, [a.element, a.llvm])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.{_suffix(a)}")
        return builder.call(function, [ir.Constant(a.element, 0.0), args[0]], fastmath=FLAGS)

    return a.scalar(a), codegen


@intrinsic
def totals(typingctx, a, b, c, d, e, f, g, h):
    """The eight sums of the lanes of eight float32 vectors in lanes 0 to 7, added up together."""

    def codegen(context, builder, sig, args):
        rows = [args[k] for k in (0, 4, 2, 6, 1, 5, 3, 7)]  # lanes 2k, 2k + 1 end up with row k
        width = LANES  # lanes that one row still takes
        while len(rows) > 1:
            rows = [_fold(builder, rows[k], rows[k + 1], width) for k in range(0, len(rows), 2)]
            width //= 2
        pairs = builder.fadd(rows[0], _shuffle(builder, rows[0], rows[0], [lane ^ 1 for lane in range(LANES)]), flags=FLAGS)
        return _shuffle(builder, pairs, pairs, [2 * lane % LANES for lane in range(LANES)])

    return a(*[vector] * 8), codegen


def _fold(builder, a, b, width: int):
    """Add the halves of every run of `width` lanes: of a in the lower half, of b in the upper. One shuffle and one blend."""
    half = width // 2
    upper = [lane // half % 2 for lane in range(LANES)]
    own = _shuffle(builder, a, b, [lane + LANES * up for lane, up in enumerate(upper)])
    other = _shuffle(builder, a, b, [lane - half + LANES if up else lane + half for lane, up in enumerate(upper)])
    return builder.fadd(own, other, flags=FLAGS)


def _shuffle(builder, a, b, lanes: list[int]):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes))


@intrinsic
def store_half(typingctx, array, index, value):
    """Write lanes 0 to 7 of `value` from array[index] on."""

    def codegen(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        first = builder.shuffle_vector(args[2], args[2], ir.Constant(ir.VectorType(ir.IntType(32), 8), list(range(8))))
        data = cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0]).data
        builder.store(first, builder.bitcast(builder.gep(data, [at]), first.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


@intrinsic
def store_rows(typingctx, array, index, a, b, c, d, e, f, g, h):
    """Write eight float64 vectors as the columns of eight rows of eight float32 each, from array[index] on."""

    def codegen(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        data = cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0]).data
        rows = [builder.fptrunc(x, ir.VectorType(ir.FloatType(), WIDE_LANES)) for x in args[2:]]
        rows = [_shuffle(builder, rows[k], rows[k + 1], list(range(LANES))) for k in (0, 2, 4, 6)]
        for _ in range(3):  # three perfect shuffles of the 64 values
            pairs = [(rows[k], rows[k + 2]) for k in (0, 1)]
            low, high = ([lane // 2 + half + LANES * (lane % 2) for lane in range(LANES)] for half in (0, 8))
            rows = [_shuffle(builder, *pair, lanes) for pair in pairs for lanes in (low, high)]
        for k, row in enumerate(rows):
            pointer = builder.gep(data, [builder.add(at, ir.Constant(at.type, LANES * k))])
            builder.store(row, builder.bitcast(pointer, row.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, index, *[wide] * 8), codegen


def _unary(name: str):
    @intrinsic
    def apply(typingctx, a):
        def codegen(context, builder, sig, args):
            kind = ir.FunctionType(a.llvm, [a.llvm])
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{_suffix(a)}"), args)

        return a(a), codegen

    return apply


square_root, floor, ceil = (_unary(name) for name in ("sqrt", "floor", "ceil"))  # lane by lane


def exp_coefficients(limit: float, degree: int) -> tuple[np.float32, ...]:
    """Coefficients, constant term first, of the polynomial nearest to exp(-x / 8) on [0, limit] in the Chebyshev sense."""
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(lambda x: np.exp(-x / 8), degree, domain=[0, limit])
    return tuple(np.float32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)
