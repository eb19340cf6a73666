import pytest

from tests.dashboards.promql_text import Expression, NotPromql


def test_labels_are_those_of_selectors_and_of_the_groupings_around_them():
    read = Expression(
        'histogram_quantile(0.9, sum by (tool, le) (rate(a_bucket{x=~".*"}[5m]))) / (b > 0) or c{y="1", z!="2"}'
    )
    assert read.labels == {"a_bucket": {"x", "tool", "le"}, "b": set(), "c": {"y", "z"}}


@pytest.mark.parametrize(
    "text",
    [
        "sum(a",
        "a)",
        "rate(a)",
        "rate(a[5])",
        "a{b}",
        'a{b="1" c="2"}',
        "sum by tool (a)",
        "median(a)",
        "a +",
        "",
        "a b",
        "a $ b",
        'a{b<"1"}',
    ],
)
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(NotPromql):
        Expression(text)
