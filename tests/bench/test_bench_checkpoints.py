"""The measuring of checkpoints, small."""

import json

from bench import checkpoints


def test_every_size_of_a_row_group_is_measured_over_the_same_spans(capsys):
    asked = ["--spans", "1024", "--group-rows", "122880", "2048", "--log-mb", "1"]
    assert checkpoints.main(asked) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["group_rows"] for line in told] == [122880, 2048]
    for line in told:
        assert line["spans"] == 1024
        assert line["checkpoints"] >= 2, "one whenever the log has grown, and one at the end"
        assert line["ms_max"] >= line["ms_median"] > 0
        assert line["bytes_a_span"] > 0
