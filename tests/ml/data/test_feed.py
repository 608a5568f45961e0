from __future__ import annotations

import inspect

import pytest

feed = pytest.importorskip("forge.ml.data.feed")
pytest.importorskip("numpy")


def test_everything_that_feeds_a_loader_offers_the_same() -> None:
    from forge.ml.data.mixture import MixedFeed
    from forge.ml.data.split import SplitFeed
    from forge.ml.data.stream import StreamFeed

    asked = [name for name, _ in inspect.getmembers(feed.SequenceFeed, inspect.isfunction) if not name.startswith("_")]
    assert asked == ["close", "epoch", "facts", "start", "take"]
    for kind in (MixedFeed, SplitFeed, StreamFeed):
        for name in asked:
            ours, wanted = (inspect.signature(getattr(each, name)).parameters for each in (kind, feed.SequenceFeed))
            assert list(ours) == list(wanted), (kind, name)
