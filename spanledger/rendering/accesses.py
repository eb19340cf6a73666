"""Access records as a table for people."""

from collections.abc import Iterable
from typing import Final

from rich.table import Table
from rich.text import Text

from spanledger.rendering.phrases import clock, printable
from store.model.rows import AccessRow

_STYLES: Final = {"allowed": "", "refused": "red", "failed": "yellow"}


def accesses_table(accesses: Iterable[AccessRow]) -> Table:
    """One row a record, as they come. Callers are never cut: `--who` takes them."""
    rows = list(accesses)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    table.add_column("AT (UTC)", no_wrap=True, min_width=14)
    table.add_column("WHO", no_wrap=True, min_width=max((len(printable(row.who)) for row in rows), default=0))
    table.add_column("FROM", no_wrap=True)
    table.add_column("ACTION", no_wrap=True)
    table.add_column("OUTCOME", no_wrap=True)
    table.add_column("WHAT", overflow="fold")
    table.add_column("PURPOSE", overflow="fold")
    for row in rows:
        table.add_row(
            clock(row.at)[5 if row.at else 0 :],
            Text(printable(row.who)),
            Text(printable(row.peer or row.door)),
            Text(printable(row.action)),
            Text(f"{row.outcome} {row.count:,} times" if row.count > 1 else row.outcome, _STYLES.get(row.outcome, "")),
            Text(printable(_what(row))),
            Text(printable(row.purpose or "-")),
        )
    return table


def _what(row: AccessRow) -> str:
    """What it was about, in the order of how much that says."""
    said = [row.reason, row.subject, row.step_id or row.run_id]
    if row.content_count:
        said.append(row.content_ids[0] if len(row.content_ids) == 1 else f"{row.content_count:,} pieces of content")
    said += [f"statement {row.statement_digest[:12]}" if row.statement_digest else None, row.call]
    return ", ".join(one for one in said if one) or "-"
