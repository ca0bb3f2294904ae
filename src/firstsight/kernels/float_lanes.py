"""Arithmetic of the lanes of `lanes.py` that hold floats: add, subtract, multiply, divide, lane by lane."""

from llvmlite import ir

from firstsight.kernels.lanes import FLOAT_LANES, call, lanewise

CONTRACT = ("contract",)  # a product and a sum may become one instruction


def _copy_sign(builder, scalar, size, like):
    zero = ir.Constant(like.type, [0.0] * FLOAT_LANES)
    negative = builder.select(builder.fcmp_ordered("<", like, zero), builder.fneg(size), zero)
    return builder.select(builder.fcmp_ordered(">", like, zero), size, negative)


plus = lanewise(lambda builder, scalar, a, b: builder.fadd(a, b, flags=CONTRACT))
minus = lanewise(lambda builder, scalar, a, b: builder.fsub(a, b, flags=CONTRACT))
times = lanewise(lambda builder, scalar, a, b: builder.fmul(a, b, flags=CONTRACT))
over = lanewise(lambda builder, scalar, a, b: builder.fdiv(a, b))
distance = lanewise(lambda builder, scalar, a, b: call(builder, "fabs", scalar, builder.fsub(a, b)))
least = lanewise(lambda builder, scalar, a, b: call(builder, "minnum", scalar, a, b))
most = lanewise(lambda builder, scalar, a, b: call(builder, "maxnum", scalar, a, b))
copy_sign = lanewise(_copy_sign)  # 0 where `like` is
