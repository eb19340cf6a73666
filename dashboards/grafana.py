"""The kinds of panel that the dashboard uses, and their places, as Grafana's classic JSON model.

A panel is a plain dict without id and place; `laid_out` gives it both by order alone, so that the same rows always make
the same bytes and a difference shows what was changed.
"""

from collections.abc import Iterable
from typing import Any, Final

Json = dict[str, Any]

DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24  # Columns of Grafana's grid.

GREEN: Final = "green"
YELLOW: Final = "yellow"
RED: Final = "red"


def steps_of(*levels: tuple[float, str]) -> Json:
    """Thresholds: green from the bottom, then a colour from each level up."""
    steps: list[Json] = [{"color": GREEN, "value": None}]
    steps += [{"color": color, "value": level} for level, color in levels]
    return {"mode": "absolute", "steps": steps}


NO_LIMIT: Final = steps_of()


def panel(
    kind: str,
    title: str,
    description: str,
    unit: str,
    targets: list[tuple[str, str]],
    *,
    width: int,
    height: int = 8,
    thresholds: Json = NO_LIMIT,
    instant: bool = False,
    defaults: Json | None = None,
    options: Json | None = None,
) -> Json:
    """One panel without its id and place. `targets` are (expression, legend) pairs."""
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {"defaults": {"unit": unit, "thresholds": thresholds, **(defaults or {})}, "overrides": []},
        "options": options or {},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": expression,
                "legendFormat": legend,
                "instant": instant,
                "range": not instant,
                **({"format": "table"} if kind == "table" else {}),
            }
            for number, (expression, legend) in enumerate(targets)
        ],
    }


def graph(
    title: str,
    description: str,
    unit: str,
    targets: list[tuple[str, str]],
    *,
    width: int = 8,
    thresholds: Json = NO_LIMIT,
    stacked: bool = False,
    largest: float | None = None,
) -> Json:
    """A time series. A threshold is drawn as a line; `stacked` only where the series add up to something."""
    custom: Json = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 8,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if len(thresholds["steps"]) > 1 else "off"},
    }
    defaults: Json = {"color": {"mode": "palette-classic"}, "custom": custom, "min": 0}
    if largest is not None:
        defaults["max"] = largest
    return panel(
        "timeseries", title, description, unit, targets,
        width=width, thresholds=thresholds, defaults=defaults,
        options={
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )  # fmt: skip


def stat(title: str, description: str, unit: str, expression: str, *, thresholds: Json = NO_LIMIT) -> Json:
    """One number, coloured by its thresholds."""
    return panel(
        "stat", title, description, unit, [(expression, "")],
        width=4, height=4, thresholds=thresholds, instant=True,
        defaults={"color": {"mode": "thresholds"}},
        options={
            "colorMode": "background",
            "graphMode": "none",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    )  # fmt: skip


def table(title: str, description: str, unit: str, expression: str, *, width: int = 8) -> Json:
    """One row for each series, its labels as columns, largest first."""
    built = panel(
        "table", title, description, unit, [(expression, "")], width=width, instant=True,
        options={"showHeader": True, "sortBy": [{"displayName": "calls", "desc": True}]},
    )  # fmt: skip
    built["transformations"] = [
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": {"Value": "calls"}}}
    ]
    return built


def laid_out(rows: Iterable[tuple[str, list[Json]]]) -> list[Json]:
    """Every panel with its id and place: rows from the top, panels from the left, wrapped at the grid's width."""
    placed: list[Json] = []
    top = 0
    for title, panels in rows:
        header = {"type": "row", "title": title, "collapsed": False, "panels": []}
        placed.append({**header, "id": len(placed) + 1, "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}})
        top += 1
        left = lowest = 0
        for built in panels:
            size = built["gridPos"]
            if left + size["w"] > WIDTH:
                top, left, lowest = top + lowest, 0, 0
            placed.append({**built, "id": len(placed) + 1, "gridPos": {"x": left, "y": top, **size}})
            left, lowest = left + size["w"], max(lowest, size["h"])
        top += lowest
    return placed
