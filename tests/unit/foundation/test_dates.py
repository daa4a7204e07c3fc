"""Instants: ISO 8601 both ways, elapsed seconds across summer time, zones by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.foundation import dates

BERLIN = ZoneInfo("Europe/Berlin")


@given(st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=-5, minutes=30)))))
def test_text_and_back(value: datetime) -> None:
    written = dates.text(value)
    assert written == value.isoformat()
    assert dates.parse(written) == value


def test_text_stays_and_nothing_is_nothing() -> None:
    assert dates.text("2030-01-01T00:00:00Z") == "2030-01-01T00:00:00Z"
    assert dates.text(None) is None


@pytest.mark.parametrize(
    "text, value",
    [
        ("2030-01-01T00:00:00Z", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01 10:00:00.123456789+02:00", datetime(2030, 1, 1, 8, 0, 0, 123456, tzinfo=UTC)),
        ("2030", datetime(2030, 1, 1)),
        ("2030-07", datetime(2030, 7, 1)),
        ("2030-12-31T24:00", datetime(2031, 1, 1)),
        ("2030-12-31T24:00:00Z", datetime(2031, 1, 1, tzinfo=UTC)),
    ],
)
def test_forms(text: str, value: datetime) -> None:
    assert dates.parse(text) == value


@pytest.mark.parametrize(
    "text", ["", "soon", "2030-13-01", "9999-12-31T24:00", 5, None, "0000", "2030-00", b"2030", []]
)
def test_nonsense_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        dates.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_an_instant_or_a_value_error(text: str) -> None:
    try:
        assert isinstance(dates.parse(text), datetime)
    except ValueError:
        pass


def test_seconds_are_elapsed_seconds() -> None:
    before = datetime(2030, 3, 31, 1, 30, tzinfo=BERLIN)  # half an hour before the clocks go forward
    after = dates.add_seconds(before, 3600)
    assert after.isoformat() == "2030-03-31T03:30:00+02:00"
    assert dates.add_seconds(datetime(2030, 1, 1), 1.5) == datetime(2030, 1, 1, 0, 0, 1, 500000)


def test_awareness() -> None:
    naive = datetime(2030, 7, 1, 12)
    assert dates.is_naive(naive)
    aware = dates.make_aware(naive, BERLIN)
    assert not dates.is_naive(aware)
    assert aware.isoformat() == "2030-07-01T12:00:00+02:00"
    assert dates.make_aware(aware, UTC) is aware


def test_epoch_and_back() -> None:
    assert dates.epoch("1970-01-01T00:00:01") == 1.0
    assert dates.epoch("1970-01-01T01:00:01", BERLIN) == 1.0
    assert dates.epoch(datetime(1970, 1, 1, 1, tzinfo=BERLIN)) == 0.0
    assert dates.from_epoch(1.5).isoformat() == "1970-01-01T00:00:01.500000+00:00"


def test_zones() -> None:
    assert dates.zone("utc") is UTC
    assert dates.zone("Europe/Berlin") == BERLIN
    assert dates.zone(BERLIN) is BERLIN
    assert dates.zone(None) is dates.local_zone()
    for name in ("Europe/Berlinn", "../../etc/passwd", "/etc/passwd", ""):
        with pytest.raises(ValueError, match="unknown time zone"):
            dates.zone(name)


def test_the_system_zone_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    dates.local_zone.cache_clear()
    monkeypatch.setenv("TZ", ":Asia/Shanghai")
    assert str(dates.local_zone()) == "Asia/Shanghai"
    dates.local_zone.cache_clear()
    monkeypatch.setenv("TZ", "nonsense")
    assert dates.local_zone().utcoffset(datetime(2030, 1, 1)) is not None
    dates.local_zone.cache_clear()
