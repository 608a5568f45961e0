"""Python's own reference as text to learn from: documents, and questions with their answers."""

from __future__ import annotations

from pydoc_text.chat import question_answers
from pydoc_text.corpus import documents

__all__ = ["documents", "question_answers"]
