"""The table says what was measured, what was not, and whether a target was reached."""

from pathlib import Path
from typing import Any

import pytest

from bench import results


def measured(benchmark: str, **figures: float) -> dict[str, Any]:
    return results.measurement(
        benchmark,
        command=["--workload", "all"],
        quick=False,
        workload={"spans": 1000, "bytes_a_span": 14500.25},
        rounds=[figures, {name: value * 3 for name, value in figures.items()}],
        load_before=0.25,
    )


def line_of(table: str, words: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {words} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_measurement_holds_the_median_of_its_rounds_and_where_it_comes_from() -> None:
    done = measured("history/limit", spans_per_second=100.0)
    assert done["median"] == {"spans_per_second": 200.0}
    assert done["command"] == "python -m bench.run --workload all"
    assert done["machine"]["cores"] > 0
    assert done["versions"]["duckdb"]
    assert done["commit"]


def test_a_ratio_is_over_what_was_measured_beside_it() -> None:
    table = results.table(
        [
            measured("history/saturated", visible_spans_per_second=500.0),
            measured("history/limit", spans_per_second=1000.0),
            measured("history/mlflow", stored_spans_per_second=40.0),
        ]
    )
    assert line_of(table, "history: over the limit")[1:] == ["≥ 0.5 x", "0.5 x", "1,000 over 2,000 spans/s", "yes"]
    assert line_of(table, "history: visible spans/s over MLflow's stored")[2:] == [
        "12.5 x",
        "1,000 over 80 spans/s",
        "no",
    ]


def test_a_latency_above_its_bound_is_not_reached() -> None:
    table = results.table([measured("small/paced", ack_ms_p99=60.0, visible_ms_p99=60.0)])
    assert line_of(table, "small, half load: ack p99")[1:] == ["≤ 100 ms", "120 ms", "", "no"]
    assert line_of(table, "small, half load: visible after ack p99")[4] == "yes"


def test_what_was_not_measured_is_named() -> None:
    assert "not measured: history/saturated" in results.table([])


def test_the_newest_measurement_counts(tmp_path: Path) -> None:
    file = tmp_path / "results.ndjson"
    for value in (10.0, 300.0):
        results.append(file, measured("growth", rate_kept=value))
    assert (
        "600 x"
        in line_of(results.table(results.read(file)), "small: rate at the end of growth over that at a tenth")[2]
    )


def test_the_table_goes_between_its_markers_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    results.write_table(page, [])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    results.write_table(page, [])
    assert page.read_text() == text


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("by hand\n")
    with pytest.raises(ValueError, match="put them where the table belongs"):
        results.write_table(page, [])
    assert page.read_text() == "by hand\n"


def test_the_published_page_has_the_markers() -> None:
    text = results.TABLE.read_text()
    assert text.count(results.BEGIN) == text.count(results.END) == 1
