"""The bench of redaction, small: so many values that every rule and kind has some."""

from bench.redaction import FALSE_HITS_MAX, PAGE, Cost, page, rates


def test_every_planted_value_is_gone_and_look_alikes_are_let_be() -> None:
    found = rates(1_000, seed=7)
    assert found.missed.total() == 0
    assert found.false_hits.total() <= FALSE_HITS_MAX * found.look_alikes.total()
    text = page(found, [Cost("history", 14_500, 20, 30, 1.2)])
    assert "| *history* | 14,500 | 20.0 | 30.0 | 1.20 |" in text
    assert found.planted["card"] > 20
    assert f"| `card` | {found.planted['card']} | 100.00% | 0.000% |" in text


def test_the_committed_page_has_every_rule_within_its_bounds() -> None:
    rows = [line.split("|")[1:5] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(rates(40).planted)
    assert all(float(row[2].strip(" %")) >= 99.9 and float(row[3].strip(" %")) <= 0.1 for row in rows)
