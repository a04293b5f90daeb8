from __future__ import annotations

from tests.store.conftest import template as template
