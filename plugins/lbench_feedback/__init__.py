"""Rules that send the error back through other weights than the transposed ones."""

from __future__ import annotations

from lbench.hooks import RuleEntry, hookimpl

API = 1

SIGN_SYMMETRY = "Liao, Leibo & Poggio 2016, arXiv:1510.05067"
WITHOUT_TRANSPORT = "Akrout et al. 2019, arXiv:1904.05391"


@hookimpl
def lbench_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            "fa",
            "Feedback alignment: fixed random weights carry the error backwards",
            "Lillicrap et al. 2016, Nature Communications 7:13276",
            "lbench_feedback.fa:Fa",
        ),
        RuleEntry(
            "usf",
            "Uniform sign-concordant feedback: the signs of the weights carry the error backwards",
            SIGN_SYMMETRY,
            "lbench_feedback.usf:Usf",
        ),
        RuleEntry(
            "brsf",
            "Batch-wise random sign-concordant feedback: signs with random magnitudes of each step",
            SIGN_SYMMETRY,
            "lbench_feedback.brsf:Brsf",
        ),
        RuleEntry(
            "frsf",
            "Fixed random sign-concordant feedback: signs with fixed random magnitudes",
            SIGN_SYMMETRY,
            "lbench_feedback.frsf:Frsf",
        ),
        RuleEntry(
            "kp",
            "Kolen-Pollack: feedback weights get the same increments and decay as the weights",
            WITHOUT_TRANSPORT,
            "lbench_feedback.kp:Kp",
        ),
        RuleEntry(
            "wm",
            "Weight mirrors: feedback weights learn the weights from noise",
            WITHOUT_TRANSPORT,
            "lbench_feedback.wm:Wm",
        ),
        RuleEntry(
            "dfa",
            "Direct feedback alignment: fixed random weights carry the output error to every layer",
            "Nøkland 2016, arXiv:1609.01596",
            "lbench_feedback.dfa:Dfa",
        ),
        RuleEntry(
            "drtp",
            "Direct random target projection: fixed random weights carry the label to every layer",
            "Frenkel, Lefebvre & Bol 2019, arXiv:1909.01311",
            "lbench_feedback.drtp:Drtp",
        ),
    ]
