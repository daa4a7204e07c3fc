"""The broker's Lua files, read once. What each does stands in its own header."""

from __future__ import annotations

from pathlib import Path

from ...drivers import redis
from ...drivers.redis_script import Script

_HERE = Path(__file__).parent
_RECORDS = _HERE / "records.lua"
_DEAD = _HERE / "dead.lua"
_FINAL = Path(redis.__file__).with_name("redis_final.lua")

TURN = Script(_RECORDS, _DEAD, _FINAL, _HERE / "turn.lua")
PROMOTE = Script(_RECORDS, _DEAD, _HERE / "promote.lua")
RECOVER = Script(_RECORDS, _HERE / "recover.lua")
GIVE_BACK = Script(_RECORDS, _HERE / "give_back.lua")
REQUEUE_DEAD = Script(_RECORDS, _DEAD, _HERE / "requeue_dead.lua")
EDIT_DEAD = Script(_RECORDS, _DEAD, _HERE / "edit_dead.lua")
IMPORT_DEAD = Script(_RECORDS, _HERE / "import_dead.lua")
PUBLISH = Script(_RECORDS, _DEAD, _HERE / "publish.lua")
REVOKE = Script(_HERE / "revoke.lua")
RENEW = Script(_HERE / "renew.lua")
COUNT = Script(_HERE / "count.lua")
PURGE = Script(_HERE / "purge.lua")
