"""Thirty-two numbers in one variable: explicit SIMD inside numba kernels.

Numba leaves it to LLVM to find vectors in a loop, and LLVM gives up where it cannot prove that a dozen arrays do not overlap.
These operations emit LLVM vector instructions directly, so a kernel written with them runs at the speed of hand-written
intrinsics on any processor: LLVM lowers the 32 lanes to AVX2, AVX-512, SSE or NEON as the machine has them.

    cost = load(volume, at)                     32 neighbours of a flat uint8 or uint16 array, from element `at`
    best = minimum(cost, broadcast(ceiling))    lane by lane
    store(volume, at, add(cost, best))          sums wrap around as uint8 and uint16 do

Nothing is bounds-checked: an index must leave 32 elements.
"""

from typing import no_type_check

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

LANES = 32


class LanesType(types.Type):
    """The numba type of 32 unsigned integers of `bits` bits."""

    def __init__(self, bits: int):
        self.bits = bits
        super().__init__(name=f"lanes(uint{bits} x {LANES})")


def vector(bits: int) -> ir.VectorType:
    """The LLVM type behind LanesType."""
    return ir.VectorType(ir.IntType(bits), LANES)


@register_model(LanesType)
class LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes_type):
        super().__init__(manager, lanes_type, vector(lanes_type.bits))


def element_pointer(context, builder, array_type, array, index):
    """Where lanes that start at `index` of a flat array lie."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector(array_type.dtype.bitwidth).as_pointer())


@intrinsic
@no_type_check
def load(typing, array, index):
    lanes = LanesType(array.dtype.bitwidth)

    def generate(context, builder, signature, arguments):
        return builder.load(element_pointer(context, builder, array, *arguments), align=1)

    return lanes(array, index), generate


@intrinsic
@no_type_check
def store(typing, array, index, lanes):
    def generate(context, builder, signature, arguments):
        flat, at, values = arguments
        builder.store(values, element_pointer(context, builder, array, flat, at), align=1)
        return context.get_dummy_value()

    return types.void(array, index, lanes), generate


@intrinsic
@no_type_check
def broadcast(typing, scalar):
    """All lanes equal to a uint8 or uint16."""
    lanes = LanesType(scalar.bitwidth)

    def generate(context, builder, signature, arguments):
        undefined = ir.Constant(vector(scalar.bitwidth), ir.Undefined)
        first = builder.insert_element(undefined, arguments[0], ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, undefined, everywhere)

    return lanes(scalar), generate


def lanewise(operation):
    """An intrinsic of two equal lanes from `operation(builder, a, b)`."""

    @intrinsic
    @no_type_check
    def apply(typing, a, b):
        def generate(context, builder, signature, arguments):
            return operation(builder, *arguments)

        return a(a, b), generate

    return apply


add = lanewise(lambda builder, a, b: builder.add(a, b))
subtract = lanewise(lambda builder, a, b: builder.sub(a, b))
shift_right = lanewise(lambda builder, a, b: builder.lshr(a, b))
minimum = lanewise(lambda builder, a, b: builder.select(builder.icmp_unsigned("<", a, b), a, b))


@intrinsic
@no_type_check
def widen(typing, lanes):
    """uint8 lanes as uint16 lanes."""

    def generate(context, builder, signature, arguments):
        return builder.zext(arguments[0], vector(16))

    return LanesType(16)(lanes), generate


@intrinsic
@no_type_check
def narrow(typing, lanes):
    """uint16 lanes as uint8 lanes, which they must fit."""

    def generate(context, builder, signature, arguments):
        return builder.trunc(arguments[0], vector(8))

    return LanesType(8)(lanes), generate


@intrinsic
@no_type_check
def lowest(typing, lanes):
    """The smallest of the uint8 lanes."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.IntType(8), [vector(8)])
        reduce = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.umin.v{LANES}i8")
        return builder.call(reduce, arguments)

    return types.uint8(lanes), generate
