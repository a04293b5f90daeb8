"""lfnn_v2: the second released code of LFNN, trained end to end."""

from __future__ import annotations

from typing import Any, Literal, cast

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network, spatial_mean
from lbench.rule import GradientRule, Grads, differentiate
from lbench.step import Step
from lbench.task import Batch, Task
from lbench_lfnn.acting import acting_options, leader_remedy, leaders_per_block
from lbench_lfnn.config import LeaderConfig
from lbench_lfnn.network import couples
from lbench_lfnn.selection import Selection
from lbench_lfnn.workers import Workers


class LfnnV2(GradientRule):
    """Backpropagation of the output loss and of the losses of worker heads on the last block.

    This is the rule of the scripts of github.com/Belis0811/LFNN with ``_detailed`` in their name,
    for any network (Yin et al. 2023, arXiv:2310.07885, whose text describes another rule,
    ``lfnn``). W workers are linear heads on the output of the last block; on each example the
    workers of lowest cross-entropy lead. All parameters get the gradient of the sum of

    - the mean cross-entropy of the pairs (example, leader);
    - the mean squared distance of followers' logits to those of the example's best leader, which
      count as constant;
    - the cross-entropy of the readout.
    """

    class Config(LeaderConfig):
        """Options of lfnn_v2; each default is the released code's."""

        selection: Literal["batch", "example", "epoch", "first_epoch", "random"] = param(
            "example", help="As in lfnn_l; the code chooses leaders for each example"
        )
        rounding: Literal["round", "floor", "ceil"] = param(
            "ceil", help="Rounding of leadership times workers; at least one worker leads"
        )
        follow: Literal["probabilities", "logits"] = param(
            "logits", help="What followers copy from their reference"
        )
        workers: int = param(32, low=1, help="Heads on the last block")
        lam: float = param(
            1.0, low=0.0, search=(0.0, 100.0),
            help="Weight of the follower loss (λ), if leadership leaves followers",
        )  # fmt: skip

    config: LfnnV2.Config

    @classmethod
    def per_block(cls, config: RuleConfig, network: Network, task: Task) -> dict[str, list[int]]:
        return leaders_per_block(_counts(config, network), cast(LfnnV2.Config, config))

    @classmethod
    def effective(cls, config: RuleConfig, network: Network, task: Task) -> dict[str, Any]:
        return acting_options(_counts(config, network), cast(LfnnV2.Config, config))

    @classmethod
    def remedy(cls, option: str, config: RuleConfig, network: Network, task: Task) -> str:
        return leader_remedy(option, _counts(config, network), cast(LfnnV2.Config, config))

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        options = cast(LfnnV2.Config, config)
        return Claims(
            transport="full",
            backward_depth="full",
            update_locked=True,
            global_error="vector",
            couples=couples(options, network, options.workers),
        )

    def build(self, init: Init) -> None:
        classes, count = self.task.classes, self.config.workers
        self.bank = init.linear("bank", self.network.blocks[-1].width, count * classes)
        self.workers = Workers(count, classes, self.config)
        self.selection = Selection(len(self.network.blocks) - 1, self.workers)

    def gradients(self, batch: Batch, s: Step) -> Grads:
        x = batch.x
        for block in self.network.blocks:
            x = block(x, s)
        output = self.task.loss(self.network.readout(x), batch.target)
        s.log("loss", output.detach())
        logits = self.bank(spatial_mean(x)).view(len(x), self.task.classes, -1)
        choice = self.selection.choose(logits.detach().softmax(1), batch.target, s)
        local = self.workers.loss(logits, batch.target, choice, (1.0, self.config.lam))
        return differentiate(output + local, self._trained)

    def after_step(self, s: Step) -> None:
        self.selection.after_step(s)


def _counts(config: RuleConfig, network: Network) -> list[int]:
    """Return the number of workers per block: all are heads on the last one."""
    return [0] * (len(network.blocks) - 1) + [cast(LfnnV2.Config, config).workers]
