"""docs/operations.md lists what the server counts of itself: all of it, with its labels."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
OF_ITSELF = ("ingest", "ack", "receiver_up", "receiver_deaths", "journal", "view", "projection", "quarantined", "disk")
OF_THE_LIBRARY = {"le"}


def listed() -> dict[str, set[str]]:
    rows = re.findall(r"^\| (`spanledger_[^|]*`) \|([^|]*)\|", PAGE, re.MULTILINE)
    return {
        name: set(filter(None, labels.strip().split(", ")))
        for names, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }


def test_the_page_lists_every_metric_of_the_recorder_with_its_labels_and_no_other(live_server):
    exposed: dict[str, set[str]] = {}
    for name, labels in live_server.metric_labels().items():
        if f"{name}_".startswith(tuple(f"spanledger_{part}_" for part in OF_ITSELF)) and not name.endswith("_created"):
            exposed.setdefault(re.sub(r"_(bucket|count|sum)$", "", name), set()).update(labels - OF_THE_LIBRARY)
    assert listed() == exposed
