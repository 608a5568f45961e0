from __future__ import annotations

import json
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.serve.page import CONTENT_POLICY, chat_page

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "render"))
from chromium import PROGRAM, Chromium, Tab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Running


def test_the_page_asks_nobody_else() -> None:
    text = chat_page()
    assert re.findall(r"(?:https?:)?//[\w.]+\.\w+", text) == []
    assert re.findall(r"\b(?:src|href|action)=\"(?!data:,)", text) == []
    assert "default-src 'none'" in CONTENT_POLICY
    assert "connect-src 'self'" in CONTENT_POLICY
    assert "innerHTML" not in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if not PROGRAM:
        pytest.skip("no chromium on PATH")
    with Chromium(str(tmp_path_factory.mktemp("profile"))) as found:
        yield found


def _wait(tab: Tab, condition: str) -> None:
    end = time.monotonic() + 30
    while not tab.run(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def _say(tab: Tab, text: str) -> None:
    tab.run("document.querySelector('#text').focus()")
    tab.type(text)
    tab.key("Enter")


@pytest.mark.browser
def test_a_chat_in_a_browser(browser: Chromium, server: Running) -> None:
    tab = browser.open(f"{server.url}/")
    _wait(tab, "document.querySelector('#model').textContent == 'small'")
    tab.run("document.querySelector('#max_tokens').value = 40")
    tab.run("document.querySelector('#system').value = 'S<b>x</b>'")
    _say(tab, "<img src=x onerror='window.ran=1'>")
    _wait(tab, "document.body.dataset.state == 'idle'")
    assert tab.text(".user") == "<img src=x onerror='window.ran=1'>"
    assert tab.text(".assistant").startswith("system\nS<b>x</b>")
    _say(tab, "again")
    _wait(tab, "document.body.dataset.state == 'idle' && document.querySelectorAll('.assistant').length == 2")
    assert len(server.engine.asked[-1].prompt) > len(server.engine.asked[-2].prompt)  # the talk goes on
    assert tab.run("window.ran ?? 0") == 0
    assert tab.complaints() == []
    assert {address.split("/")[2] for address in tab.requests()} <= {server.url.split("/")[2], ","}
    tab.click("#clear")
    assert tab.run("document.querySelectorAll('main > div').length") == 0
    tab.close()


@pytest.mark.browser
def test_an_answer_can_be_stopped_and_a_mistake_is_shown(
    browser: Chromium, begin_server: Callable[..., Running], make_engine: Any, until: Callable[..., None]
) -> None:
    slow = begin_server(make_engine(tick=0.02))
    tab = browser.open(f"{slow.url}/")
    _wait(tab, "document.querySelector('#model').textContent == 'small'")
    _say(tab, "hello")
    _wait(tab, "(document.querySelector('.assistant')?.textContent.length ?? 0) > 3")
    tab.click("#send")
    _wait(tab, "document.body.dataset.state == 'idle'")
    until(lambda: slow.engine.load.running == 0)
    tab.run("document.querySelector('#max_tokens').value = 999999")
    _say(tab, "too much")
    _wait(tab, "document.querySelector('.error') != null")
    assert "this model takes" in tab.text(".error")
    tab.close()


@pytest.mark.browser
def test_the_browser_is_asked_for_the_key(browser: Chromium, locked: Running) -> None:
    tab = browser.open(f"http://anyone:{locked.key}@127.0.0.1:{locked.port}/")
    _wait(tab, "document.querySelector('#model')?.textContent == 'small'")
    assert json.dumps(locked.key) not in tab.run("document.documentElement.outerHTML")
    tab.close()
