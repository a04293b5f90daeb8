"""Transport, its absence, scalars and signs are distinguished."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

from lbench.auditing import transport as transport_module
from lbench.auditing.maps import Map, change
from lbench.auditing.movement import Span, rank
from lbench.auditing.perturbation import LayerPerturbation
from lbench.auditing.rules import audit_rule
from lbench.auditing.transport import MOST, Transport
from lbench.auditing.use_tracer import UseTracer, tracing
from lbench.auditing.uses import CannotHoldError, HeldUses, Use


def test_a_change_and_twice_the_change_give_the_same_signs() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 4, 3, dtype=torch.float64)
    for before in (weight, torch.zeros_like(weight)):
        by = change(before, generator)
        assert (by != 0).all()
        assert torch.equal((before + by).sign(), by.sign())
        assert torch.equal((before + 2 * by).sign(), by.sign())


def test_a_held_layer_keeps_its_outputs_and_has_its_new_transpose() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.GELU()).double()
    params = dict(model.named_parameters())
    x = torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True)
    with tracing(UseTracer(model, params, x)) as tracer:
        before = model(x)
    (one,) = torch.autograd.grad(before.sum(), x)
    with torch.no_grad():
        model[0].weight.mul_(3)
    held = HeldUses(frozenset({"0.weight"}), tracer.uses, outside=False)
    with tracing(UseTracer(model, params, x, held=held)):
        after = model(x)
    assert torch.equal(after, before)
    (other,) = torch.autograd.grad(after.sum(), x)
    torch.testing.assert_close(other, 3 * one)
    held = HeldUses(frozenset({"0.weight"}), tracer.uses, outside=False)
    with pytest.raises(CannotHoldError), tracing(UseTracer(model, params, x[:1], held=held)):
        model(x[:1])


def test_a_held_layer_has_the_tangent_of_its_new_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 2, bias=False)).double()
    params = dict(model.named_parameters())
    x, u = torch.randn(2, 4, 3, dtype=torch.float64)
    with tracing(UseTracer(model, params, x)) as tracer:
        model(x)
    with torch.no_grad():
        model[0].weight.mul_(-2)
    held = HeldUses(frozenset({"0.weight"}), tracer.uses, outside=False)
    with forward_ad.dual_level(), tracing(UseTracer(model, params, x, held=held)):
        value, tangent = forward_ad.unpack_dual(model(forward_ad.make_dual(x, u)))
    torch.testing.assert_close(value, tracer.uses[0].outputs[0])
    torch.testing.assert_close(tangent, u @ model[0].weight.T)


def use(*before: int) -> Use:
    bits = sum(1 << k for k in before)
    none: frozenset[str] = frozenset()
    return Use(none, none, True, none, True, False, False, 1, bits, [])


def test_depth_is_the_longest_chain_of_uses_and_not_the_number_of_heads() -> None:
    # a, then b twice, then c; d is parallel to b, from a.
    uses = [use(), use(0), use(0, 1), use(0, 1, 2), use(0)]
    indices = {"a": [0], "b": [1, 2], "c": [3], "d": [4]}
    kinds: dict[tuple[str, str], str | None] = {
        ("a", "b"): "full",
        ("a", "d"): "full",
        ("b", "b"): "sign",
        ("b", "c"): "full",
        ("a", "c"): "none",
    }
    maps = [Map(name, [], [], [steps_of]) for name, steps_of in indices.items()]
    result = Transport(maps, kinds=kinds, steps=[uses])
    assert result.depths() == {"a": 2, "b": 2, "c": 0, "d": 0}


def test_rank_counts_directions_above_the_noise() -> None:
    rows = torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [1.0, 2.0, 0], [0, 0, 1e-12]]).double()
    assert rank(rows, 1e-9).directions == 2
    assert rank(torch.zeros(3, 4), 0.0) == (0, 0)


def test_no_more_changes_are_made_once_two_brought_no_new_direction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers: list[int] = []
    response = LayerPerturbation.response

    def counted(self: LayerPerturbation, number: int, **keywords: Any) -> Any:
        numbers.append(number)
        return response(self, number, **keywords)

    monkeypatch.setattr(LayerPerturbation, "response", counted)
    norm = {"norm": "group"}
    early = audit_rule("fg_w", network="cnn", network_options=norm)
    made = max(numbers)
    monkeypatch.setattr(transport_module, "_decided", never)
    late = audit_rule("fg_w", network="cnn", network_options=norm)
    assert made < max(numbers) < MOST
    assert early.transport.kinds == late.transport.kinds


def never(movements: Span, most: int) -> bool:
    return False
