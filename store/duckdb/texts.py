"""Content by its ids, for whoever reads a run some steps at a time: what was read last is not read again."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from store.duckdb.engine import Engine
from store.duckdb.statements import sql

KEPT_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of text, for each stream. What a run repeats (its prompt, what tools answer again and again) is far less."""


class Texts:
    """The contents of one tenant. One reader's at a time."""

    def __init__(self, engine: Engine, tenant: str) -> None:
        self._engine = engine
        self._tenant = tenant
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._kept_bytes = 0

    def read(self, ids: Iterable[str]) -> dict[str, str]:
        """The texts of these ids; one that is not there is left out. Raises ViewError."""
        wanted = set(ids)
        found = {one: self._kept[one] for one in wanted if one in self._kept}
        for one in found:
            self._kept.move_to_end(one)
        missing = sorted(wanted - found.keys())
        if missing:
            rows = self._engine.rows(sql("select_contents"), {"tenant": self._tenant, "ids": missing})
            fresh = {row["content_id"]: row["text"] for row in rows}
            self._keep(fresh)
            found |= fresh
        return found

    def _keep(self, fresh: dict[str, str]) -> None:
        self._kept |= fresh
        self._kept_bytes += sum(map(len, fresh.values()))
        while self._kept_bytes > KEPT_BYTES_MAX:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])


def texts_of(engine: Engine, tenant: str, ids: Iterable[str]) -> dict[str, str]:
    """Content id -> text, of those that are stored."""
    return Texts(engine, tenant).read(ids)
