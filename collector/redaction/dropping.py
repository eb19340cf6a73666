"""Classes of content that a policy drops whole."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Drops:
    """What is dropped whatever it says: `tools` are patterns of names whose results are."""

    content: bool = False
    reasoning: bool = False
    tools: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.content or self.reasoning or bool(self.tools)


NOTHING: Final = Drops()
