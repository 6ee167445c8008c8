"""Vectors for numba kernels, since LLVM leaves the compositing loop scalar: sixteen float32 or eight float64 at once.

`load`, `store` and `splat` move data; `+ - * /` work on vectors and on a vector with a scalar of its type; `where_*`
choose per lane.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba import types
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


vector, wide = Vector(types.float32, LANES), Wide(types.float64, WIDE_LANES)


def _register_model(kind: Vector) -> None:
    @register_model(type(kind))
    class _Model(models.PrimitiveModel):
        def __init__(self, manager, fe_type) -> None:
            super().__init__(manager, fe_type, kind.llvm)


_register_model(vector)
_register_model(wide)


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


@intrinsic
def any_greater(typingctx, a, b):
    """True if a > b in some lane."""

    def codegen(context, builder, sig, args):
        mask = builder.bitcast(builder.fcmp_ordered(">", args[0], args[1]), ir.IntType(a.lanes))
        return builder.icmp_unsigned("!=", mask, ir.Constant(ir.IntType(a.lanes), 0))

    return types.boolean(a, a), codegen


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
def store_totals(typingctx, array, index, a, b, c, d, e, f, g, h):
    """Write the eight sums of the lanes of eight float32 vectors to array[index : index + 8], adding them up together."""

    def codegen(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        rows = list(args[2:])
        width = LANES  # lanes that one row still takes
        while len(rows) > 1:
            rows = [_fold(builder, rows[k], rows[k + 1], width) for k in range(0, len(rows), 2)]
            width //= 2
        sums = _fold(builder, rows[0], rows[0], width)
        first = builder.shuffle_vector(sums, sums, ir.Constant(ir.VectorType(ir.IntType(32), 8), list(range(8))))
        data = cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0]).data
        builder.store(first, builder.bitcast(builder.gep(data, [at]), first.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, index, *[vector] * 8), codegen


def _fold(builder, a, b, width: int):
    """Add the upper half of every run of `width` lanes to its lower half; the halved runs of a, then those of b."""
    lanes = [lane for lane in range(2 * LANES) if lane % width < width // 2]
    index = lambda shift: ir.Constant(ir.VectorType(ir.IntType(32), LANES), [lane + shift for lane in lanes])
    return builder.fadd(builder.shuffle_vector(a, b, index(0)), builder.shuffle_vector(a, b, index(width // 2)), flags=FLAGS)


@intrinsic
def square_root(typingctx, a):
    """Lane-wise square root."""

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(a.llvm, [a.llvm])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.{_suffix(a)}"), args)

    return a(a), codegen


def exp_coefficients(limit: float, degree: int) -> tuple[np.float32, ...]:
    """Coefficients, constant term first, of the polynomial nearest to exp(-x / 8) on [0, limit] in the Chebyshev sense."""
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(lambda x: np.exp(-x / 8), degree, domain=[0, limit])
    return tuple(np.float32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)
