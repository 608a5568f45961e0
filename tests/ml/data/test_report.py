from __future__ import annotations

from forge.ml.data.report import Report


def _report() -> Report:
    report = Report(rows=10, examples=7, sequences=3, tokens=70, trained=60)
    for row in range(7):
        report.drop("no messages", row, f"row {row}")
    report.drop("empty", 9)
    report.shorten("cut to 8 tokens", 8, "9 tokens")
    return report


def test_losses_are_counted_and_the_first_are_named() -> None:
    loss = _report().dropped["no messages"]
    assert loss.count == 7
    assert [row for row, _ in loss.first] == [0, 1, 2, 3, 4]


def test_the_lines_name_the_most_frequent_reason_first() -> None:
    assert _report().lines() == [
        "7 of 10 rows not used: no messages; the first is row 0 (row 0)",
        "1 of 10 rows not used: empty; the first is row 9",
        "1 of 10 rows used in part: cut to 8 tokens; the first is row 8 (9 tokens)",
    ]


def test_a_report_survives_as_plain_data_and_a_copy_is_another() -> None:
    report = _report()
    assert Report.from_json(report.to_json()) == report
    other = report.copy()
    other.drop("empty", 4)
    assert report.dropped["empty"].count == 1


def test_the_first_row_of_each_reason_is_given_its_place_once() -> None:
    report, asked = _report(), []

    def place(row: int) -> str:
        asked.append(row)
        return f"a.jsonl:{row + 1}"

    report.locate(place)
    report.locate(place)
    assert sorted(asked) == [0, 8, 9]
    assert [line.partition("the first is ")[2] for line in report.lines()] == [
        "row 0 (a.jsonl:1: row 0)",
        "row 9 (a.jsonl:10)",
        "row 8 (a.jsonl:9: 9 tokens)",
    ]
    assert Report.from_json(report.to_json()) == report


def test_a_sum_of_reports_keeps_the_place_with_its_row() -> None:
    here, there = Report(rows=1), Report(rows=1)
    here.drop("empty", 3)
    there.drop("empty", 4)
    there.drop("unknown role", 5)
    there.locate(lambda row: f"b.jsonl:{row}")
    here.add(there)
    assert [line.partition("the first is ")[2] for line in here.lines()] == ["row 3", "row 5 (b.jsonl:5)"]


def test_what_was_lost_since_has_new_reasons_and_those_of_more_rows() -> None:
    told, now = _report(), _report()
    assert now.lost_since(told).lines() == []
    now.drop("empty", 10)
    now.drop("unknown role", 11)
    assert [*now.lost_since(told).dropped] == ["empty", "unknown role"]
    assert [*now.lost_since(told, times=3).dropped] == ["unknown role"]
    assert [*now.lost_since(Report(), times=3).shortened] == ["cut to 8 tokens"]
    assert now.dropped["no messages"].count == 7


def test_reports_of_parts_add_up() -> None:
    total = _report()
    total.add(_report())
    assert (total.rows, total.tokens, total.dropped["no messages"].count) == (20, 140, 14)
    assert len(total.dropped["no messages"].first) == 5
