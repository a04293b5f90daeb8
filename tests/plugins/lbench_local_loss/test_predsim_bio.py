"""predsim_bio is pred_bio and sim_bio together."""

from __future__ import annotations

import pytest
import torch

from lbench_local_loss.pred_bio import PredBio
from lbench_local_loss.predsim_bio import PredSimBio
from lbench_local_loss.sim_bio import SimBio

from .small import NETS, batch_of, gradients, make


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("net", NETS)
def test_gradients_are_the_mixture_of_pred_bios_and_sim_bios(net: str, beta: float) -> None:
    batch, spec = batch_of(), NETS[net]
    actual = gradients(make(spec, PredSimBio, beta=beta, slope=0.0), batch)
    pred = gradients(make(spec, PredBio), batch)
    sim = gradients(make(spec, SimBio, slope=0.0), batch)
    for name, grad in actual.items():
        share = (1 - beta) * pred[name]
        if not name.startswith("predictors."):
            share = share + beta * sim[name]
        torch.testing.assert_close(grad, share, msg=name)


def test_beta_is_a_hundredth() -> None:
    assert PredSimBio.Config().beta == 0.01
    claims = PredSimBio.claims(PredSimBio.Config(beta=0.0), make().network)
    assert claims.couples == "none"
