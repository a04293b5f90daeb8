"""A dispatch mode that a run can enter without importing PyTorch's compiler."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A mode whose ``__torch_dispatch__`` receives every operation that runs inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # PyTorch would import its compiler, half a second or more, to keep it from the mode.
        return False
