"""The probes record leaders, changes of outputs, and the agreement of leaders correctly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet
from sklearn.linear_model import LogisticRegression

from lbench.errors import UsageError
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.networks.one_vs_all import OneVsAll
from lbench.networks.spec import NetworkSpec
from lbench.probe import Probe
from lbench.registry import registry
from lbench.rule import Rule
from lbench.training.trainer import Trainer
from lbench_bp.bp import Bp
from lbench_lfnn.lfnn import Lfnn
from lbench_lfnn.lfnn_l import LfnnL
from lbench_lfnn.lfnn_l_head import LfnnLHead
from lbench_lfnn.lfnn_l_rr import LfnnLRr
from lbench_lfnn.lfnn_online import LfnnOnline
from lbench_lfnn.lfnn_v2 import LfnnV2
from lbench_lfnn.probes import regression
from lbench_lfnn.probes.activity import Activity
from lbench_lfnn.probes.agreement import Agreement, pair_columns
from lbench_lfnn.probes.base import owners
from lbench_lfnn.probes.leaders import Leaders
from lbench_lfnn.probes.regression import fit
from tests.probes.scene import (
    CLASSES,
    SHAPE,
    GaussianClasses,
    batch,
    made,
    recorded,
    scene,
    step_of,
)
from tests.training.helper import ask, run

FC = Mlp(widths=(20, 30))
CASES: list[tuple[type[Rule], NetworkSpec, dict[str, Any]]] = [
    (Lfnn, FC, {}),
    (LfnnL, FC, {}),
    (LfnnL, FC, {"units": 2, "forward": "relu"}),
    (LfnnL, Cnn(widths=(10, 20), norm="none"), {}),
    (LfnnLRr, FC, {"workers": 3}),
    (LfnnLHead, Cnn(widths=(10, 20), norm="none"), {}),
    (LfnnOnline, OneVsAll(workers=(6, 4)), {}),
]
IDS = [f"{rule.__name__} {net.__class__.__name__} {options}" for rule, net, options in CASES]


def trained(probe: Probe, index: int = 0) -> list[dict[str, Any]]:
    """Return what a probe records of one step, with the calls of a run."""
    rule, s = probe.scene.rule, step_of(index)
    plain = dict(rule._updates)
    rule.attach({g: _behind(probe, g, update) for g, update in plain.items()})
    recorded(probe, lambda: probe.before_step(batch(), s))
    rule.step(rule.prepare(batch(), s), s)
    rule.after_step(s)
    rule.attach(plain)
    return recorded(probe, lambda: probe.after_step(batch(), s))


def _behind(probe: Probe, group: str, update: Any) -> Any:
    def observed(grads: Any) -> None:
        with torch.no_grad():
            probe.at_update(group, grads)
        update(grads)

    return observed


def outputs(rule: Any) -> list[torch.Tensor]:
    """Return the predictions of the workers of each block, (batch, classes, workers)."""
    x, block_outputs = batch().x, []
    with torch.no_grad():
        for k, block in enumerate(rule.network.blocks):
            z = block.preactivation(x)
            h = rule.activate(k, z)
            block_outputs.append(rule.workers[k].predict(z, h).y)
            x = block.emit(h)
    return block_outputs


@pytest.mark.parametrize(("cls", "net", "options"), CASES, ids=IDS)
def test_leaders_are_the_n_workers_of_lowest_loss(
    cls: type[Rule], net: NetworkSpec, options: dict[str, Any]
) -> None:
    rule: Any = made(cls, net, leadership=0.4, **options)
    before = outputs(rule)
    rows = trained(Leaders("leaders", scene(rule)))
    binary = cls is LfnnOnline
    assert len(rows) == (2 * CLASSES if binary else 2)
    for row in rows:
        y, target = before[row["block"]], batch().target
        if binary:
            own = (target == row["label"])[:, None]
            p = torch.where(own, y[:, row["label"]], 1 - y[:, row["label"]])
        else:
            assert row["label"] is None
            p = y.gather(1, target.view(-1, 1, 1).expand(-1, 1, y.shape[2]))[:, 0]
        losses = -p.log().mean(0)
        n = rule.workers[row["block"]].leaders
        lowest = torch.zeros(len(losses)).index_fill(0, losses.argsort()[:n], 1)
        assert row["leads"] == lowest.tolist()
        assert sum(row["leads"]) == max(1, int(0.4 * len(losses) + 0.5))


@pytest.mark.parametrize(("cls", "net", "options"), CASES, ids=IDS)
def test_norms_are_those_of_the_gradients_at_the_workers_units(
    cls: type[Rule], net: NetworkSpec, options: dict[str, Any]
) -> None:
    rule: Any = made(cls, net, leadership=0.4, **options)
    received: dict[str, torch.Tensor] = {}
    rule.attach(
        {g.name: lambda grads: received.update({n: v.clone() for n, v in grads.items()})
         for g in rule.groups()}
    )  # fmt: skip
    probe = Leaders("leaders", scene(rule))
    for row in trained(probe):
        k, label, leads = row["block"], row["label"], torch.tensor(row["leads"])
        block, count = rule.network.blocks[k], len(leads)
        path = f"network.blocks.{k}.layer.affine"
        full = torch.cat([received[f"{path}.{p}"].reshape(block.width, -1) for p in
                          ("weight", "bias") if f"{path}.{p}" in received], 1)  # fmt: skip
        if cls in (LfnnLRr, LfnnLHead):
            units = [torch.tensor(part) for part in np.array_split(np.arange(block.width), count)]
        elif label is not None:
            units = [torch.tensor([label * count + w]) for w in range(count)]
        else:
            m = options.get("units", 1) if not block.convolutional else 1
            units = [
                torch.tensor([(c * count + w) * m + j for c in range(CLASSES) for j in range(m)])
                for w in range(count)
            ]
        norms = torch.stack([full[u].double().norm() for u in units])
        assert row["leader_norm"] == pytest.approx(norms[leads == 1].mean().item(), rel=1e-5)
        followers = norms[leads == 0]
        if len(followers):
            assert row["follower_norm"] == pytest.approx(followers.mean().item(), rel=1e-5)
        else:
            assert row["follower_norm"] is None
        own = owners(rule.workers[k], block)
        assert sorted(own.unique().tolist()) == list(
            range(count * (CLASSES if label is not None else 1))
        )


def test_leaders_per_example_have_shares_and_no_separate_norms() -> None:
    rule = made(LfnnL, FC, leadership=0.5, selection="example")
    rows = trained(Leaders("leaders", scene(rule)))
    assert [sum(row["leads"]) for row in rows] == pytest.approx([2, 3])
    assert any(0 < share < 1 for share in rows[0]["leads"])
    assert {row["leader_norm"] for row in rows} == {None}


@pytest.mark.parametrize(("cls", "net", "options"), CASES, ids=IDS)
def test_activity_is_the_output_after_the_step_minus_before(
    cls: type[Rule], net: NetworkSpec, options: dict[str, Any]
) -> None:
    rule: Any = made(cls, net, leadership=0.4, **options).eval()
    before = outputs(rule)
    rows = trained(Activity("activity", scene(rule)))
    after = outputs(rule.eval())
    for row in rows:
        change = after[row["block"]] - before[row["block"]]
        if row["label"] is None:
            expected = change.square().sum(1).sqrt().mean(0)
        else:
            expected = change[:, row["label"]].mean(0)
        assert row["change"] == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-7)
        assert max(map(abs, row["change"])) > 0
        assert sum(row["leads"]) == rule.workers[row["block"]].leaders


def test_the_first_2000_steps_are_measured_and_then_every_20th() -> None:
    probe = Activity("activity", scene(made(Lfnn, FC)))
    assert [i for i in range(1990, 2050) if probe.due(i)] == [*range(1990, 2001), 2020, 2040]


def test_columns_about_pairs_equal_loops_over_pairs() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.randn(50, CLASSES, 4, generator=g).softmax(1)
    cosines, distances = [], []
    for i in range(4):
        for j in range(i + 1, 4):
            one, other = y[:, :, i], y[:, :, j]
            cosines.append(torch.cosine_similarity(one, other, dim=1).mean().item())
            distances.append(0.5 * (one - other).abs().sum(1).mean().item())
    actual = pair_columns(y)
    assert actual["cosine"] == pytest.approx(np.mean(cosines), abs=1e-6)
    assert actual["tv_mean"] == pytest.approx(np.mean(distances), abs=1e-6)
    assert (actual["tv_min"], actual["tv_max"]) == pytest.approx((min(distances), max(distances)))
    same = pair_columns(y[:, :, :1].expand(-1, -1, 3))
    assert same == pytest.approx({"cosine": 1, "tv_mean": 0, "tv_min": 0, "tv_max": 0}, abs=1e-6)
    assert set(pair_columns(y[:, :, :1]).values()) == {None}


@pytest.mark.parametrize("binary", [False, True])
def test_the_regression_equals_that_of_scikit_learn(
    binary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = GaussianClasses(300, 5)
    x, y = examples.images.flatten(1).double().numpy(), examples.labels.numpy()
    weight, bias = fit(examples, CLASSES, binary=binary)
    logits = torch.from_numpy(x) @ weight + bias
    theirs = LogisticRegression(C=1 / (300 * regression.PENALTY), tol=1e-10, max_iter=10_000)
    if binary:
        expected = np.stack(
            [theirs.fit(x, y == c).predict_proba(x)[:, 1] for c in range(CLASSES)], 1
        )
    else:
        expected = theirs.fit(x, y).predict_proba(x)
    actual = logits.sigmoid() if binary else logits.softmax(1)
    assert np.abs(actual.numpy() - expected).max() < 0.02
    monkeypatch.setattr(regression, "TOLERANCE", 1e-9)
    monkeypatch.setattr(regression, "ITERATIONS", 1000)
    weight, bias = fit(examples, CLASSES, binary=binary)
    logits = torch.from_numpy(x) @ weight + bias
    actual = logits.sigmoid() if binary else logits.softmax(1)
    assert np.abs(actual.numpy() - expected).max() < 1e-5


@pytest.mark.parametrize(("cls", "net", "options"), CASES, ids=IDS)
def test_agreement_has_each_workers_own_error_and_the_leaders_of_the_last_step(
    cls: type[Rule], net: NetworkSpec, options: dict[str, Any]
) -> None:
    rule: Any = made(cls, net, leadership=0.4, **options)
    probe, s = Agreement("agreement", scene(rule)), step_of()
    s.last = True
    rule.step(rule.prepare(batch(), s), s)
    recorded(probe, lambda: probe.after_step(batch(), s))
    rows = recorded(probe, lambda: probe.epoch_end(1, 10))
    heldout = GaussianClasses(200, 2)
    with torch.no_grad():
        y = probe.predictions(heldout.images)
    for row in rows:
        k, label, leads = row["block"], row["label"], s.logs[f"leaders/{row['block']}"]
        label_leads = leads if label is None else leads[label]
        assert row["leaders"] == label_leads.nonzero().flatten().tolist()
        if label is None:
            wrong = y[k].argmax(1) != heldout.labels[:, None]
        else:
            wrong = (y[k][:, label] > 0.5) != (heldout.labels == label)[:, None]
        assert row["error"] == pytest.approx((100 * wrong.double().mean(0)).tolist(), abs=0.6)
        compared = k == 0 and not rule.network.blocks[0].convolutional
        assert (row["regression_tv"] is not None) == compared
        if compared:
            assert row["regression_error"] < 10
            assert 0 < row["regression_tv"] < 1


@pytest.mark.slow
@pytest.mark.thorough
def test_leaders_of_the_papers_layer_converge_to_a_regression(
    tmp_path: Path,
) -> None:
    """Workers whose units are the logits of all classes solve the same convex problem."""
    outcome = run(tmp_path, ask("lfnn_l", epochs=12, recipe={"lr": 0.03}), probes=["agreement"])[0]
    table = parquet.read_table(outcome.run_dir / "probes" / "agreement.parquet").to_pylist()
    first, *_, last = [row for row in table if row["block"] == 0]
    assert first["cosine"] < 0.98 < 0.998 < last["cosine"]
    assert first["tv_mean"] > 0.08 > 0.02 > last["tv_mean"]
    assert first["regression_tv"] > 0.5 > 0.05 > last["regression_tv"]
    assert min(last["error"]) < last["regression_error"] + 4


@pytest.mark.slow
@pytest.mark.thorough
def test_a_run_resumed_at_an_epochs_end_has_the_same_agreement(tmp_path: Path) -> None:
    resolved = ask("lfnn_l", epochs=3)
    probes = ["agreement", "leaders", "activity"]
    straight = run(tmp_path / "straight", resolved, probes=probes)[0]
    plain = Trainer._end_epoch

    def killed(self: Trainer) -> None:
        plain(self)
        self.save()
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "_end_epoch", killed)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "killed", resolved, probes=probes)
    resumed = run(tmp_path / "killed", resolved, probes=probes)[0]
    for probe in probes:
        tables = [
            parquet.read_table(outcome.run_dir / "probes" / f"{probe}.parquet")
            for outcome in (straight, resumed)
        ]
        assert tables[0].equals(tables[1])


@pytest.mark.parametrize("probe", ["leaders", "activity", "agreement"])
@pytest.mark.parametrize("rule", [Bp, LfnnV2])
def test_the_error_for_a_rule_without_workers_names_the_rules_that_have_them(
    rule: type[Rule], probe: str
) -> None:
    cls = registry().load("probes", probe)
    with pytest.raises(UsageError, match=f"the blocks of {rule.__name__} have none") as caught:
        cls(probe, scene(made(rule, FC)))
    assert caught.value.hint == (
        "Choose one of the rules lfnn, lfnn_online, lfnn_l, lfnn_l_rr, lfnn_l_head."
    )
    assert SHAPE == (2, 4, 4)
