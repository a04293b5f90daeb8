"""What a network family is: checked options and a ``build``."""

from __future__ import annotations

from lbench.config import Options
from lbench.init import Init
from lbench.network import Network


class NetworkSpec(Options):
    """The options of a network family; subclass it, declare fields with ``param``, and build."""

    def build(
        self, init: Init, shape: tuple[int, int, int], classes: int, dropout: float = 0.0
    ) -> Network:
        """The network for inputs of ``shape`` (channels, height, width).

        Raises:
            UsageError: the shape does not fit these options.
        """
        raise NotImplementedError
