"""Names of PyTorch functions that the audit treats in a special way."""

from __future__ import annotations

DIFFERENTIATE = frozenset({"backward", "grad"})
"""Functions that run a backward pass."""

DRAWS = frozenset(
    {
        "bernoulli", "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_",
        "multinomial", "normal", "normal_", "poisson", "rand", "rand_like", "randint",
        "randint_like", "randn", "randn_like", "random_", "randperm", "uniform_",
    }
)  # fmt: skip
"""Functions that draw random numbers."""

ELEMENTWISE = frozenset(
    {
        "__add__", "__and__", "__div__", "__eq__", "__ge__", "__gt__", "__iadd__", "__idiv__",
        "__imul__", "__isub__", "__itruediv__", "__le__", "__lt__", "__mul__", "__ne__", "__pow__",
        "__radd__", "__rdiv__", "__rmul__", "__rpow__", "__rsub__", "__rtruediv__", "__setitem__",
        "__sub__", "__truediv__", "add", "add_", "addcdiv", "addcdiv_", "addcmul", "addcmul_",
        "allclose", "atan2", "batch_norm", "broadcast_tensors", "broadcast_to", "cat", "clamp",
        "clamp_", "clip", "concat", "concatenate", "copy_", "copysign", "copysign_", "div", "div_",
        "divide", "eq", "equal", "expand_as", "fmax", "fmin", "fmod", "ge", "group_norm", "gt",
        "hstack", "hypot", "instance_norm", "isclose", "layer_norm", "le", "lerp", "lerp_", "lt",
        "masked_fill", "masked_fill_", "maximum", "minimum", "mul", "mul_", "multiply", "ne",
        "pow", "pow_", "prelu", "remainder", "reshape_as", "rms_norm", "rsub", "stack", "sub",
        "sub_", "subtract", "to", "true_divide", "type_as", "view_as", "vstack", "where", "xlogy",
    }
)  # fmt: skip
"""Functions that combine their arguments element by element, or concatenate them."""

SCALES = frozenset(
    {
        "__div__", "__idiv__", "__imul__", "__itruediv__", "__mul__", "__rdiv__", "__rmul__",
        "__rtruediv__", "__truediv__", "addcmul", "addcmul_", "div", "div_", "divide",
        "masked_fill", "masked_fill_", "mul", "mul_", "multiply", "true_divide", "where",
    }
)  # fmt: skip
"""Elementwise functions that multiply."""

SHIFTS = frozenset(
    {
        "__add__", "__iadd__", "__isub__", "__radd__", "__rsub__", "__sub__", "add", "add_",
        "fmax", "fmin", "maximum", "minimum", "rsub", "sub", "sub_", "subtract",
    }
)  # fmt: skip
"""Elementwise functions that add or compare."""

REPEATS = frozenset({"repeat", "repeat_interleave", "tile"})
"""Functions that concatenate copies of a tensor."""

PRODUCTS = frozenset(
    {"__matmul__", "__rmatmul__", "dot", "einsum", "inner", "matmul", "mv", "tensordot", "vdot"}
)
"""Products that also sum over the features of vectors."""

RECURRENT = frozenset({"gru", "lstm", "rnn_relu", "rnn_tanh"})
"""Functions that apply the same matrices at every position of a sequence in one call."""

COMPOSITE = frozenset({"multi_head_attention_forward"})
"""Python functions that contain several layers; the calls inside them are traced one by one."""


def elementwise(name: str) -> bool:
    """Return whether the function of this name combines its arguments element by element."""
    return name in ELEMENTWISE or name.startswith(("_foreach_", "_fused_"))


def in_place(name: str) -> bool:
    """Return whether the function of this name changes its first argument."""
    if name.startswith("__"):
        return name in ("__setitem__", "__set__") or name in _AUGMENTED
    return name.endswith("_")


_AUGMENTED = frozenset(
    f"__i{operator}__"
    for operator in (
        "add", "and", "div", "floordiv", "lshift", "mod", "mul", "or", "pow", "rshift", "sub",
        "truediv", "xor",
    )
)  # fmt: skip
