"""Which part of a run a command replays: from one step to another, both by their `seq`, as the record stood at a moment."""

from dataclasses import dataclass, fields
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of a replay, as `/v1/runs/{run_id}/replay` takes it. None does not bound."""

    from_step: int | None = None
    until_step: int | None = None
    as_of: str | None = None
    """A time or a position, as the API takes it."""

    def parameters(self) -> dict[str, str]:
        """As parameters of the API."""
        said = {member.name: getattr(self, member.name) for member in fields(self)}
        return {name: str(value) for name, value in said.items() if value is not None}


WHOLE: Final = Window()
