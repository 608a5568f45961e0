from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

jinja2 = pytest.importorskip("jinja2")
from forge.ml.chat.sandbox import Sandbox, TemplateRefusal  # noqa: E402 - jinja2 is an extra


def _render(text: str, **values: Any) -> str:
    return str(Sandbox().from_string(text).render(values))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}", '{"a":2,"b":1}'),
        ("{{ 'é' | tojson(ensure_ascii=true) }}", '"\\u00e9"'),
        ("{{ [1] | tojson(indent=1) }}", "[\n 1\n]"),
        ("{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", "1"),
        ("{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "13"),
        ("{% set ns = namespace(a=1) %}{% set ns.a = 2 %}{{ ns.a }}", "2"),
        ("{{ dict(a=1).a }}{{ dict.fromkeys(['b'], 2).b }}", "12"),
        ("  {% if true %}\na\n  {% endif %}\nb", "a\nb"),
        ("a{% generation %}b{% endgeneration %}c", "abc"),
    ],
)
def test_templates_find_the_names_and_manners_they_know(text: str, expected: str) -> None:
    assert _render(text) == expected


def test_a_template_may_refuse_and_ask_the_date() -> None:
    with pytest.raises(TemplateRefusal, match="no such role"):
        _render("{{ raise_exception('no such role') }}")
    sandbox = Sandbox(lambda: dt.datetime(2024, 7, 26, tzinfo=dt.timezone.utc))
    assert sandbox.from_string("{{ strftime_now('%d %b %Y') }}").render() == "26 Jul 2024"


def test_what_the_assistant_says_is_noted_with_its_place() -> None:
    sandbox = Sandbox()
    template = sandbox.from_string("ab{% generation %}cd{% endgeneration %}")
    for piece in template.root_render_func(template.new_context({})):
        sandbox.written += len(piece)
    assert sandbox.spans == [(2, "cd")]


def test_nothing_given_to_a_template_can_be_changed() -> None:
    with pytest.raises(jinja2.exceptions.SecurityError):
        _render("{{ messages.append(1) }}", messages=[])
    with pytest.raises(jinja2.exceptions.SecurityError):
        _render("{% set ns = namespace() %}{% set ns._private = 1 %}")
