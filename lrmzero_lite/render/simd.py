"""Sixteen floats at once: a vector type for numba kernels, since LLVM leaves the compositing loop scalar.

`load`, `store` and `splat` move data; `+ - *` work on vectors and on a vector with a float32; `where_*` choose per lane.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16
FLAGS = ("contract", "reassoc", "nsz", "arcp", "afn")  # never nnan / ninf: comparisons with NaN must stay false
_LLVM = ir.VectorType(ir.FloatType(), LANES)


class Vector(types.Type):
    """Sixteen float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type) -> None:
        super().__init__(manager, fe_type, _LLVM)


def _splat(builder, value):
    one = builder.insert_element(ir.Constant(_LLVM, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(_LLVM, ir.Undefined), zeros)


def _register_operator(op, method: str) -> None:
    pairs = ((vector, vector), (vector, types.float32), (types.float32, vector))

    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            return signature(vector, *args) if tuple(args) in pairs else None

    for left, right in pairs:

        @lower_builtin(op, left, right)
        def _lower(context, builder, sig, args):
            args = [a if t is vector else _splat(builder, a) for a, t in zip(args, sig.args, strict=True)]
            return getattr(builder, method)(*args, flags=FLAGS)


_register_operator(operator.add, "fadd")
_register_operator(operator.sub, "fsub")
_register_operator(operator.mul, "fmul")


def _address(context, builder, array_type, array, index):
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _LLVM.as_pointer())


@intrinsic
def load(typingctx, array, index):
    """Lanes array[index : index + 16] of a contiguous one-dimensional float32 array."""

    def codegen(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        return builder.load(_address(context, builder, sig.args[0], args[0], at), align=4)

    return vector(array, index), codegen


@intrinsic
def store(typingctx, array, index, value):
    """array[index : index + 16] = value."""

    def codegen(context, builder, sig, args):
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        builder.store(args[2], _address(context, builder, sig.args[0], args[0], at), align=4)
        return context.get_dummy_value()

    return types.void(array, index, vector), codegen


@intrinsic
def splat(typingctx, value):
    """The float32 `value` in every lane."""
    return vector(types.float32), lambda context, builder, sig, args: _splat(builder, args[0])


def _select(predicate: str):
    @intrinsic
    def where(typingctx, a, b, yes, no):
        def codegen(context, builder, sig, args):
            return builder.select(builder.fcmp_ordered(predicate, args[0], args[1]), args[2], args[3])

        return vector(vector, vector, vector, vector), codegen

    return where


where_greater = _select(">")  # yes where a > b, else no (also where a or b is NaN)
where_greater_equal = _select(">=")


@intrinsic
def any_greater(typingctx, a, b):
    """True if a > b in some lane."""

    def codegen(context, builder, sig, args):
        mask = builder.bitcast(builder.fcmp_ordered(">", args[0], args[1]), ir.IntType(LANES))
        return builder.icmp_unsigned("!=", mask, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(vector, vector), codegen


@intrinsic
def minimum(typingctx, a, b):
    """Lane-wise minimum."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[0], args[1])

    return vector(vector, vector), codegen


@intrinsic
def reciprocal(typingctx, a):
    """1 / a, lane by lane."""

    def codegen(context, builder, sig, args):
        return builder.fdiv(ir.Constant(_LLVM, [1.0] * LANES), args[0], flags=FLAGS)

    return vector(vector), codegen


@intrinsic
def total(typingctx, a):
    """Sum of the lanes."""

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), _LLVM])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.fadd.v16f32")
        return builder.call(function, [ir.Constant(ir.FloatType(), 0.0), args[0]], fastmath=FLAGS)

    return types.float32(vector), codegen


def exp_coefficients(limit: float, degree: int) -> tuple[np.float32, ...]:
    """Coefficients, constant term first, of the polynomial nearest to exp(-x / 8) on [0, limit] in the Chebyshev sense."""
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(lambda x: np.exp(-x / 8), degree, domain=[0, limit])
    return tuple(np.float32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)
