"""Request bodies on disk: made before the clock starts, read through a memory map while it runs.

A round of *history* is hundreds of MB; a client that kept it as objects, or made it while sending, would measure itself.
"""

import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.workloads import Body


@dataclass(frozen=True, slots=True)
class Place:
    """Where a body lies in the file, and how many spans it carries."""

    offset: int
    length: int
    spans: int


class BodyFile:
    """Bodies one behind the other in a file. `with BodyFile.write(path, bodies) as file: file[0]`."""

    def __init__(self, path: Path, places: list[Place]) -> None:
        self._path = path
        self._places = places
        self._file = path.open("rb")
        self._map = mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ)
        self.spans = sum(place.spans for place in places)
        self.total_bytes = sum(place.length for place in places)

    @classmethod
    def write(cls, path: Path, bodies: Iterable[Body]) -> Self:
        """Write the bodies and open them again. There must be at least one."""
        places: list[Place] = []
        offset = 0
        with path.open("wb") as file:
            for body in bodies:
                file.write(body.content)
                places.append(Place(offset, len(body.content), body.spans))
                offset += len(body.content)
        return cls(path, places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> bytes:
        place = self._places[index]
        return self._map[place.offset : place.offset + place.length]

    def spans_of(self, index: int) -> int:
        """Spans in one body."""
        return self._places[index].spans

    @property
    def bytes_a_span(self) -> float:
        """Exact average, requests' resources and scopes included."""
        return self.total_bytes / self.spans

    def close(self) -> None:
        """Give the map and the file back, and remove the file."""
        self._map.close()
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
