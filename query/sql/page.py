"""The tables of docs/sql.md: views, columns and functions as the code has them.

`python -m query.sql.page` writes them anew.
"""

from pathlib import Path
from typing import Final

from query.sql.functions import FUNCTIONS
from query.sql.permitted import takes
from store.duckdb.documented import documented_views

PAGE: Final = Path(__file__).parents[2] / "docs" / "sql.md"
BEGIN: Final = "<!-- From here on the page is written by `python -m query.sql.page`. -->\n"


def generated() -> str:
    """What the page says behind its marker."""
    lines = ["", "## Functions", "", "| for | names |", "|---|---|"]
    lines += [f"| {what} | {' '.join(f'`{name}`' for name in sorted(names))} |" for what, names in FUNCTIONS.items()]
    lines += ["", "## Views", ""]
    for view in documented_views().values():
        lines += [f"### {view.name}", "", view.says, "", "| column | type | what it is | takes |", "|---|---|---|---|"]
        for column in view.columns:
            taken = ", ".join(f"`{one}`" for one in sorted(takes(view, column.name)))
            lines.append(f"| `{column.name}` | {column.type} | {column.means} | {taken} |")
        lines.append("")
    return "\n".join(lines)


def written() -> str:
    """The whole page, as it should be."""
    text, marker, _ = PAGE.read_text().partition(BEGIN)
    return text + marker + generated()


if __name__ == "__main__":
    PAGE.write_text(written())
