"""What helps to test programs that use celeriac, and celeriac itself. Nothing outside of tests imports it."""

from __future__ import annotations

from .faults import CALM, Fault, FaultyBroker, Plan, Scripted, Seeded

__all__ = ["CALM", "Fault", "FaultyBroker", "Plan", "Scripted", "Seeded"]
