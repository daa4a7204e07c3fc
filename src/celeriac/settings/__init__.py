"""What was configured: every setting, where its value comes from, and its other names."""

from __future__ import annotations

from .reading import Layer, UnknownSettingWarning, read
from .sources import Settings
from .table import OWN, SETTINGS, Setting

__all__ = ["OWN", "SETTINGS", "Layer", "Setting", "Settings", "UnknownSettingWarning", "read"]
