"""Which cells need not be measured: presets that read back the same settings are the same cell."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from fwprof.records import CellPlan, Description, Failure


class Presets:
    """Remembers what cells said of themselves, and which of them said what another had said.

    Args:
        skipped: cells of which that is known already.
    """

    def __init__(self, skipped: Collection[str] = ()) -> None:
        self.skipped = set(skipped)
        self._seen: dict[bytes, str] = {}

    def compare(self, cell: CellPlan, description: Description) -> Failure | None:
        """Return why a cell is skipped: but for its preset it is another one, and so are its settings."""
        plan = msgspec.structs.replace(cell, id="", settings_preset="as-shipped")
        first = self._seen.setdefault(msgspec.json.encode((plan, description)), cell.id)
        if first == cell.id:
            return None
        self.skipped.add(cell.id)
        return Failure(
            fate="skipped",
            stage="build",
            message=f"its settings read back the same as those of {first}: measured once",
            same_as=first,
        )
