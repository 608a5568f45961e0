"""Layouts: how a model and its data are spread over processes."""

from __future__ import annotations

from forge.plan.layout import Layout

__all__ = ["Layout"]
