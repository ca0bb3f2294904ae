"""Thirty-two integers or eight floats in one variable: explicit SIMD inside numba kernels.

Numba leaves it to LLVM to find vectors in a loop, and LLVM gives up where it cannot prove that a dozen arrays do not overlap.
These operations emit LLVM vector instructions directly, so a kernel written with them runs at the speed of hand-written
intrinsics on any processor: LLVM lowers the lanes to AVX2, AVX-512, SSE or NEON as the machine has them.

    cost = load(volume, at)                     neighbours of a flat array, from element `at`
    best = minimum(cost, broadcast(ceiling))    lane by lane
    store(volume, at, add(cost, best))          sums of integers stop at the largest value instead of wrapping around

Elements are uint8, uint16, uint32 or float32; `lane_count(array)` says how many go at once. Nothing is bounds-checked.
Numba keeps compiled kernels by the time stamp of their own file: after a change here, delete the `__pycache__` folders.
"""

from typing import Any, no_type_check

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

LANES = 32  # of integers, and a multiple of those of floats
FLOAT_LANES = 16  # 32 would not fit the registers
Scalar = Any  # types.Integer or types.Float
UNREACHABLE = (
    1e30  # a float32 cost to which adding another changes nothing; of integers the largest value, where sums stop
)


class LanesType(types.Type):
    """The numba type of several numbers of a scalar type."""

    def __init__(self, scalar: Scalar):
        self.scalar = scalar
        super().__init__(name=f"lanes({scalar} x {count(scalar)})")


def is_float(scalar: Scalar) -> bool:
    return isinstance(scalar, types.Float)


def count(scalar: Scalar) -> int:
    """How many numbers of a scalar type go at once."""
    return FLOAT_LANES if is_float(scalar) else LANES


def vector(scalar: Scalar) -> ir.VectorType:
    """The LLVM type of lanes of a scalar type."""
    return ir.VectorType(ir.FloatType() if is_float(scalar) else ir.IntType(scalar.bitwidth), count(scalar))


def suffix(scalar: Scalar) -> str:
    """How LLVM's intrinsics call the type."""
    return f"v{count(scalar)}{'f' if is_float(scalar) else 'i'}{scalar.bitwidth}"


@register_model(LanesType)
class LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes_type):
        super().__init__(manager, lanes_type, vector(lanes_type.scalar))


def element_pointer(context, builder, array_type, array, index):
    """Returns where lanes that start at `index` of a flat array lie."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector(array_type.dtype).as_pointer())


def constant(scalar: Scalar, value) -> ir.Constant:
    """All lanes equal to a number known when the kernel is compiled."""
    return ir.Constant(vector(scalar), [value] * count(scalar))


def nothing(scalar: Scalar) -> ir.Constant:
    """All lanes as volumes.no_cost() has it: the largest value, or infinity."""
    return constant(scalar, float("inf") if is_float(scalar) else 2**scalar.bitwidth - 1)


def repeated(builder, scalar: Scalar, value):
    """All lanes equal to a value."""
    undefined = ir.Constant(vector(scalar), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), count(scalar)), [0] * count(scalar))
    return builder.shuffle_vector(first, undefined, everywhere)


@intrinsic
@no_type_check
def lane_count(typing, array):
    """How many elements of an array go at once."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(ir.IntType(64), count(array.dtype))

    return types.int64(array), generate


@intrinsic
@no_type_check
def load(typing, array, index):
    def generate(context, builder, signature, arguments):
        return builder.load(element_pointer(context, builder, array, *arguments), align=1)

    return LanesType(array.dtype)(array, index), generate


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
    """All lanes equal to a number."""

    def generate(context, builder, signature, arguments):
        return repeated(builder, scalar, arguments[0])

    return LanesType(scalar)(scalar), generate


@intrinsic
@no_type_check
def load_or_repeat(typing, array, index, offset):
    """Neighbours of a flat array from element index + offset; of a column (n, 1) its element `index` in all lanes."""
    if array.ndim == 1:

        def generate(context, builder, signature, arguments):
            at = builder.add(arguments[1], arguments[2])
            return builder.load(element_pointer(context, builder, array, arguments[0], at), align=1)

    else:

        def generate(context, builder, signature, arguments):
            data = context.make_array(array)(context, builder, arguments[0]).data
            return repeated(builder, array.dtype, builder.load(builder.gep(data, [arguments[1]])))

    return LanesType(array.dtype)(array, index, offset), generate


def lanewise(operation):
    """An intrinsic of two equal lanes from `operation(builder, scalar, a, b)`."""

    @intrinsic
    @no_type_check
    def apply(typing, a, b):
        def generate(context, builder, signature, arguments):
            return operation(builder, a.scalar, *arguments)

        return a(a, b), generate

    return apply


def call(builder, name, scalar, *arguments):
    """One of LLVM's intrinsics on lanes."""
    kind = ir.FunctionType(vector(scalar), [vector(scalar)] * len(arguments))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.{suffix(scalar)}")
    return builder.call(function, arguments)


def _add(builder, scalar, a, b):
    return builder.fadd(a, b) if is_float(scalar) else call(builder, "uadd.sat", scalar, a, b)


def _gap(builder, scalar, a, b):
    if is_float(scalar):
        return builder.fsub(a, b)
    known = builder.icmp_unsigned("!=", a, nothing(scalar))
    return builder.select(known, builder.sub(a, b), nothing(scalar))


def _minimum(builder, scalar, a, b):
    less = builder.fcmp_ordered("<", a, b) if is_float(scalar) else builder.icmp_unsigned("<", a, b)
    return builder.select(less, a, b)


add = lanewise(_add)
gap = lanewise(_gap)  # a - b, where a >= b; what is UNREACHABLE stays so
minimum = lanewise(_minimum)
shift_right = lanewise(lambda builder, scalar, a, b: builder.lshr(a, b))


def resized(builder, scalar, wanted, values):
    """Integer lanes of another width."""
    if scalar == wanted:
        return values
    change = builder.zext if wanted.bitwidth > scalar.bitwidth else builder.trunc
    return change(values, vector(wanted))


@intrinsic
@no_type_check
def like(typing, lanes, array):
    """The lanes with elements as wide as an array's; where it is narrower they must fit."""

    def generate(context, builder, signature, arguments):
        return resized(builder, lanes.scalar, array.dtype, arguments[0])

    return LanesType(array.dtype)(lanes, array), generate


@intrinsic
@no_type_check
def load_costs(typing, volume, index, array):
    """Costs with elements as wide as an array's; no cost, which NaN means too, as UNREACHABLE."""

    def generate(context, builder, signature, arguments):
        here, there = volume.dtype, array.dtype
        costs = builder.load(element_pointer(context, builder, volume, *arguments[:2]), align=1)
        if is_float(here):
            return _minimum(builder, here, costs, constant(here, UNREACHABLE))
        if here == there:
            return costs
        known = builder.icmp_unsigned("!=", costs, nothing(here))
        return builder.select(known, resized(builder, here, there, costs), nothing(there))

    return LanesType(array.dtype)(volume, index, array), generate


@intrinsic
@no_type_check
def begin_sums(typing, costs, array):
    """Zeros as wide as an array's elements, no cost where there is none."""

    def generate(context, builder, signature, arguments):
        here, there = costs.scalar, array.dtype
        compare = (builder.fcmp_ordered, "<") if is_float(here) else (builder.icmp_unsigned, "!=")
        known = compare[0](compare[1], arguments[0], nothing(here))
        return builder.select(known, constant(there, 0), nothing(there))

    return LanesType(array.dtype)(costs, array), generate


@intrinsic
@no_type_check
def lowest(typing, lanes):
    """The smallest of the lanes."""

    def generate(context, builder, signature, arguments):
        scalar, values, lanes_left = lanes.scalar, arguments[0], count(lanes.scalar)
        if not is_float(scalar):
            kind = ir.FunctionType(ir.IntType(scalar.bitwidth), [vector(scalar)])
            reduce = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.umin.{suffix(scalar)}")
            return builder.call(reduce, arguments)
        while lanes_left > 1:  # fold: LLVM's own reduction of floats goes lane by lane
            lanes_left //= 2
            beside = [(i + lanes_left) % FLOAT_LANES for i in range(FLOAT_LANES)]
            order = ir.Constant(ir.VectorType(ir.IntType(32), FLOAT_LANES), beside)
            values = _minimum(builder, scalar, values, builder.shuffle_vector(values, values, order))
        return builder.extract_element(values, ir.Constant(ir.IntType(32), 0))

    return lanes.scalar(lanes), generate
