"""Celery's `celery.canvas`, here. Nothing inside the package imports it."""

from __future__ import annotations

from .client.canvas.chain import Chain, chain
from .client.canvas.chord import chord
from .client.canvas.group import group
from .client.canvas.maps import chunks, xmap, xstarmap
from .client.canvas.signature import Signature, maybe_signature, signature
from .client.canvas.stamping import GroupStampingVisitor, StampingVisitor

_chain = Chain
_chord = chord
subtask = signature

__all__ = [
    "GroupStampingVisitor",
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
