"""The page as text, and in a real browser: nobody but a browser knows what runs."""

from __future__ import annotations

import json
import os
import re
import sys
from random import Random
from typing import TYPE_CHECKING

import pytest

import forge
from forge.base.origin import Origin
from forge.base.secrets import Secret
from forge.graph.node import Call, Const, Edge, Graph, Map
from forge.render.page import page

sys.path.insert(0, os.path.dirname(__file__))
from chromium import PROGRAM, Chromium, Tab
from contrast import LEAST, contrast
from drawn_examples import C, decoder, graph
from hostile_graphs import hostile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Open = Callable[..., Tab]

FULL = bool(os.environ.get("FORGE_FULL"))
ATTACKS = (
    "</script><script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 1'>",
    "<!--<script>window.ran = 1</script>-->",
    "</style></svg><svg onload=window.ran=1>",
    "]]><iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
    '"><a href="javascript:window.ran=1" style="color:red">x</a>',
    "{{data}}{{script}}",
    "javascript:window.ran=1",
    "&lt;b&gt;",
)


COLORS = {
    "text": ("ground", "surface", "raised", "accent-wash", "mark"),
    "soft": ("ground", "surface", "raised", "accent-wash", "mark"),
    "faint": ("ground", "surface", "raised"),
    "accent": ("ground", "surface", "raised", "accent-wash", "mark"),
    "alarm": ("ground", "surface", "raised", "mark"),
}


def test_text_around_the_picture_can_be_read_on_light_and_dark_pages() -> None:
    sides = re.findall(r":root \{(.*?)\}", page(graph("x", {})), re.DOTALL)
    assert len(sides) == 2
    for colors in (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", side)) for side in sides):
        for text, grounds in COLORS.items():
            ratios = {ground: contrast(colors[text], colors[ground]) for ground in grounds}
            assert min(ratios.values()) >= LEAST, (text, ratios)


def embedded(text: str) -> dict[str, object]:
    found = re.search(r'<script id="graph-data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def attacked() -> Graph:
    """Every attack as a key, a value, a target, a group and the name."""
    return graph(
        "".join(ATTACKS),
        {text: C(text, {"plain": text, text: 1, "list": [text], "map": {text: text}}) for text in ATTACKS},
    )


def sourced(folder: Path) -> Graph:
    """A small graph whose lines can be read."""
    file = folder / "run.yaml"
    file.write_text(
        "model:\n  _target_: torch.nn.Linear\n  width: ${eval:2*8}\n  api_key: hunter2\ntrainer:\n  model: ${model}\n"
    )
    lines = [Origin(str(file), number) for number in range(7)]
    width = Const(("model", "width"), 16, origin=lines[3])
    key = Const(("model", "api_key"), Secret("hunter2"), origin=lines[4])
    kwargs = (Edge("width", width, lines[3]), Edge("api_key", key, lines[4]))
    model = Call(("model",), "torch.nn.Linear", (), kwargs, origin=lines[1], target_origin=lines[2])
    used = (Edge("model", model, lines[6], ref=True),)
    trainer = Call(("trainer",), "forge.ml.train.Trainer", (), used, "partial", origin=lines[5], target_origin=lines[5])
    return Graph("run", Map((), (Edge("model", model), Edge("trainer", trainer))))


# ---- as text


def test_the_page_holds_all_it_needs() -> None:
    text = page(decoder(4))
    assert not re.search(r"<link|@import|\bsrc=|url\(|https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"<[^>]* (?:style|on\w+)=", text)
    assert "default-src 'none'" in text
    assert "unsafe" not in text


def test_depth_and_focus_change_the_picture_and_not_what_can_be_searched() -> None:
    whole, folded, near = page(decoder(4)), page(decoder(4), depth=1), page(decoder(4), focus="rope")
    assert whole.count('class="line') > folded.count('class="line')
    assert whole.count('class="line') > near.count('class="line')
    assert embedded(whole)["origins"] == embedded(folded)["origins"] == embedded(near)["origins"]


def test_no_text_can_end_the_data() -> None:
    for found in (attacked(), *(hostile(Random(seed)) for seed in range(100))):
        text = page(found)
        assert text.count("</script>") == 2
        assert embedded(text)["nodes"]


def test_secrets_are_nowhere_in_the_page(tmp_path: Path) -> None:
    assert "hunter2" not in page(sourced(tmp_path))


# ---- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if PROGRAM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no chromium on PATH; CI needs one")
        pytest.skip("there is no chromium on PATH")
    with Chromium(str(tmp_path_factory.mktemp("chromium"))) as started:
        yield started


@pytest.fixture
def show(browser: Chromium, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of a graph; at the end no page may have complained or asked for anything."""
    tabs: list[tuple[Tab, str]] = []

    def opened(found: Graph, fragment: str = "", *, dark: bool = False, size: tuple[int, int] = (1280, 800)) -> Tab:
        file = tmp_path / f"page{len(tabs)}.html"
        file.write_text(page(found), encoding="utf-8")
        tab = browser.open(file.as_uri() + fragment, dark=dark, size=size)
        tabs.append((tab, file.as_uri()))
        return tab

    yield opened
    for tab, address in tabs:
        assert tab.complaints() == []
        assert {request.partition("#")[0] for request in tab.requests()} == {address}
        assert not tab.run("window.ran")
        tab.close()


def card(tab: Tab, path: str) -> str:
    """The selector of the card of a node."""
    found = tab.run(
        "Object.entries(JSON.parse(document.getElementById('graph-data').textContent).cards)"
        f".find(([, card]) => card.nodes.includes({json.dumps(path)}))[0]"
    )
    return f"#stage g.object[id={found}]"


def count(tab: Tab, selector: str) -> int:
    return int(tab.run(f"document.querySelectorAll({json.dumps(selector)}).length"))


def settle(tab: Tab) -> None:
    """Wait until events have been handled and the page has been drawn again."""
    tab.run("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


@pytest.mark.browser
def test_the_real_page_loads_in_light_and_dark(show: Open) -> None:
    found = forge.open("pydoc").config("pretrain/tiny").graph
    grounds = set()
    for dark in (False, True):
        tab = show(found, dark=dark)
        assert tab.text("h1") == "pretrain/tiny"
        assert count(tab, "#stage g.object") > 10
        assert tab.run("document.getElementById('panel').hidden")
        grounds.add(tab.run("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


@pytest.mark.browser
def test_a_click_on_a_card_shows_its_values_and_where_they_are_written(show: Open, tmp_path: Path) -> None:
    tab = show(sourced(tmp_path))
    tab.click(f"{card(tab, 'model')} .title")
    settle(tab)
    said = tab.text("#panel")
    for text in ("torch.nn.Linear", "width", "16", "run.yaml:3", "width: ${eval:2*8}", "run.yaml:4", "********"):
        assert text in said
    assert "hunter2" not in tab.run("document.documentElement.outerHTML")
    assert tab.run("location.hash") == "#node=model"
    assert count(tab, "#stage .selected") == 1


@pytest.mark.browser
def test_users_and_what_is_used_are_links_that_select(show: Open, tmp_path: Path) -> None:
    tab = show(sourced(tmp_path), "#node=model")
    assert "trainer.model" in tab.text("#panel")
    tab.click("#panel .links a")
    settle(tab)
    assert tab.text("#panel h3") == "trainer"
    tab.click("#panel .links a")
    settle(tab)
    assert tab.text("#panel h3") == "model"
    tab.run("history.back()")
    tab.run("new Promise(done => setTimeout(done, 100))")
    assert tab.text("#panel h3") == "trainer"


@pytest.mark.browser
def test_the_address_selects_nodes_values_and_what_references_lead_to(show: Open, tmp_path: Path) -> None:
    tab = show(sourced(tmp_path), "#node=trainer.model")
    assert tab.text("#panel h3") == "model"
    tab.run("location.hash = '#node=trainer.model.width'")
    settle(tab)
    assert tab.text("#panel .chosen").startswith("width")
    for broken in ("nobody", "%E0%A4%A", "", "[", "trainer..model"):
        tab.run(f"location.hash = '#node={broken}'")
        settle(tab)
    assert tab.run("document.getElementById('panel').hidden")


@pytest.mark.browser
def test_keys_reach_cards_and_escape_closes_the_panel(show: Open, tmp_path: Path) -> None:
    tab = show(sourced(tmp_path))
    for key in ("Enter", " "):
        tab.run(f"document.querySelector({json.dumps(card(tab, 'trainer'))}).focus()")
        tab.key(key)
        settle(tab)
        assert tab.text("#panel h3") == "trainer"
        tab.key("Escape")
        settle(tab)
        assert tab.run("document.getElementById('panel').hidden")
        assert tab.run("location.hash") == ""
        assert count(tab, "#stage .selected, #stage .near") == 0


@pytest.mark.browser
def test_search_finds_names_classes_and_values_and_enter_goes_to_them(show: Open) -> None:
    tab = show(decoder(4))
    tab.key("/")
    tab.type("embedding")
    settle(tab)
    assert tab.text("#found") == "2 matches"
    assert count(tab, "#stage .match") == 2
    tab.key("Enter")
    settle(tab)
    assert (tab.text("#found"), tab.text("#panel h3")) == ("1 of 2 matches", "rope")
    tab.key("Enter")
    settle(tab)
    assert tab.text("#panel h3") == "model.embedding"
    tab.run("document.getElementById('search').select()")
    tab.type("train-00003")
    tab.key("Enter")
    settle(tab)
    assert tab.text("#panel h3") == "dataset.shard3"
    assert tab.text("#panel .chosen").startswith("file")
    tab.key("Escape")
    settle(tab)
    assert count(tab, "#stage .match") == 0


@pytest.mark.browser
def test_wheel_buttons_keys_and_drag_move_the_view(show: Open) -> None:
    tab = show(decoder(4))
    place = "document.getElementById('stage').style.transform"
    first = tab.run(place)
    point = f"document.querySelector('{card(tab, 'trainer')} .title').getBoundingClientRect()"
    x, y = tab.run(f"[{point}.x, {point}.y]")
    tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    settle(tab)
    assert tab.run(place) != first
    after = tab.run(f"[{point}.x, {point}.y]")
    assert after == pytest.approx([x, y], abs=1.5)  # what is below the pointer stays there
    for act in (
        lambda: tab.click("#zoom-in"),
        lambda: tab.key("+"),
        lambda: tab.key("-"),
        lambda: tab.click("#zoom-out"),
    ):
        before = tab.run(place)
        act()
        settle(tab)
        assert tab.run(place) != before
    x, y = tab.run(f"[{point}.x, {point}.y]")
    tab.mouse("mousePressed", 900, 500, button="left", clickCount=1)
    tab.mouse("mouseMoved", 960, 540, button="left", buttons=1)
    tab.mouse("mouseReleased", 960, 540, button="left", clickCount=1)
    assert tab.run(f"[{point}.x, {point}.y]") == pytest.approx([x + 60, y + 40], abs=1.5)
    assert tab.run("document.getElementById('panel').hidden")  # a drag is no click
    tab.key("0")
    assert tab.run(place) == first


@pytest.mark.browser
def test_a_group_folds_away_with_its_edges_and_comes_back_when_selected(show: Open) -> None:
    tab = show(decoder(4))
    group = "#group-list li:nth-child(3)"
    assert tab.text(f"{group} .label") == "model"
    edges = count(tab, "#stage g.line")
    tab.click(f"{group} .label")
    settle(tab)
    hidden = "[...document.querySelectorAll('#stage g.object')].filter(one => getComputedStyle(one).display === 'none')"
    assert set(tab.run(f"{hidden}.map(one => one.dataset.group)")) == {"model"}
    assert 0 < count(tab, "#stage g.line:not(.folded)") < edges
    assert not tab.run("document.getElementById('all-groups').hidden")
    tab.run("location.hash = '#node=model.embedding'")
    settle(tab)
    assert tab.run(f"{hidden}.length") == 0
    tab.mouse("mouseMoved", 100, 300)
    tab.run("document.querySelector('#group-list li:first-child .only').click()")
    assert set(tab.run(f"{hidden}.map(one => one.dataset.group)")) >= {"model", "trainer", "dataset"}
    tab.click("#all-groups")
    assert tab.run(f"{hidden}.length") == 0


@pytest.mark.browser
def test_attacks_are_shown_as_the_texts_they_are(show: Open) -> None:
    tab = show(attacked())
    for attack in ATTACKS:
        tab.run(f"location.hash = '#node=' + encodeURIComponent({json.dumps(f'[{attack!r}]')})")
        settle(tab)
        said = tab.run("document.getElementById('panel').textContent")
        assert said.count(attack) > 4, attack
        tab.run(
            f"(box => {{ box.value = {json.dumps(attack)}; box.dispatchEvent(new Event('input')) }})(document.getElementById('search'))"
        )
        settle(tab)
        assert tab.run("document.getElementById('matches').textContent").count(attack) > 2, attack
    assert count(tab, "img, iframe, b, a[href^=javascript], [style]:not(#stage)") == 0
    assert count(tab, "script") == 2


@pytest.mark.browser
def test_the_policy_refuses_what_was_not_in_the_page_when_it_was_made(browser: Chromium, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(
        page(decoder(1)).replace("</body>", "<script>window.ran = 1</script><p id=p style='top:1px'></body>")
    )
    tab = browser.open(file.as_uri())
    assert not tab.run("window.ran")
    assert tab.run("getComputedStyle(document.getElementById('p')).top") == "auto"
    assert len(tab.complaints()) == 2
    tab.close()


@pytest.mark.browser
def test_hostile_graphs_make_no_elements_of_their_own(show: Open) -> None:
    for seed in range(20 if FULL else 5):
        tab = show(hostile(Random(seed)))
        elements = set(tab.run("[...new Set([...document.querySelectorAll('#stage *')].map(one => one.localName))]"))
        assert elements <= {"svg", "style", "g", "rect", "path", "text", "tspan", "title", "circle"}, seed
        assert count(tab, "script") == 2
        every = "JSON.parse(document.getElementById('graph-data').textContent).nodes.map(node => node.path)"
        for path in tab.run(every):
            tab.run(f"location.hash = '#node=' + encodeURIComponent({json.dumps(path)})")
            settle(tab)
            assert not tab.run("document.getElementById('panel').hidden"), (seed, path)


@pytest.mark.browser
def test_three_hundred_cards_zoom_and_pan_without_a_stutter(show: Open) -> None:
    config = {
        f"group{group}": {
            f"part{part}": C(f"m{group}.Class{part}", {f"value{each}": each * part for each in range(part % 7 + 2)})
            for part in range(25)
        }
        for group in range(12)
    }
    tab = show(graph("many", config))
    assert count(tab, "#stage g.object") >= 300
    slow = tab.run("""(async () => {
      const canvas = document.getElementById("canvas"), times = [];
      for (let step = 0; step < 40; step += 1) {
        const start = performance.now();
        canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: step < 20 ? -60 : 60, clientX: 700, clientY: 400, cancelable: true }));
        document.body.getBoundingClientRect();
        times.push(performance.now() - start);
        await new Promise(requestAnimationFrame);
      }
      return times.sort((a, b) => a - b)[30];
    })()""")
    assert slow < 16
