"""Journals that are closed when the test is over."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from store.journal.journal import Journal
from tests.store.journal.journal_bench import SEGMENT_BYTES, HeldSync


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def open_journal(folder: Path) -> Iterator[Callable[..., Journal]]:
    opened: list[Journal] = []

    def open_one(at: Path = folder, **arguments: Any) -> Journal:
        journal = Journal(at, **({"segment_bytes": SEGMENT_BYTES} | arguments))
        opened.append(journal)
        return journal

    yield open_one
    for journal in opened:
        journal.close()


@pytest.fixture
def held_sync(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldSync]:
    sync = HeldSync()
    monkeypatch.setattr(os, "fdatasync", sync)
    yield sync
    sync.let_go.set()
