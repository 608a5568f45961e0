from __future__ import annotations

import pytest

from forge.ml.serve.engine import EngineLoad
from forge.ml.serve.traffic import Traffic


def test_figures_are_what_prometheus_reads() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    traffic = Traffic()
    for status in (200, 200, 401, 429, 503, 499, 302):
        traffic.answered(status)
    traffic.first_token(0.02)
    traffic.finished(70.0, 5, 7)
    found = {family.name: family for family in parser.text_string_to_metric_families(traffic.text(EngineLoad(1, 2)))}
    values = {(sample.name, *sample.labels.values()): sample.value for one in found.values() for sample in one.samples}
    assert values["forge_answers_total", "2xx"] == 2
    assert values["forge_answers_total", "4xx"] == 3
    assert values["forge_busy_total",] == 2
    assert values["forge_unauthorised_total",] == 1
    assert (values["forge_running",], values["forge_waiting",]) == (1, 2)
    assert (values["forge_prompt_tokens_total",], values["forge_generated_tokens_total",]) == (5, 7)
    assert values["forge_first_token_seconds_bucket", "0.025"] == 1
    assert values["forge_request_seconds_bucket", "60.0"] == 0
    assert values["forge_request_seconds_bucket", "+Inf"] == values["forge_request_seconds_count",] == 1
    assert found["forge_request_seconds"].type == "histogram"


def test_names_and_labels_are_fixed() -> None:
    traffic = Traffic()
    before = [line.rpartition(" ")[0] for line in traffic.text(EngineLoad(0, 0)).splitlines()]
    for status in range(100, 700):
        traffic.answered(status)
    assert [line.rpartition(" ")[0] for line in traffic.text(EngineLoad(9, 9)).splitlines()] == before
