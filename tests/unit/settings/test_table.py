"""The table is Celery's, name by name; what differs is listed here with its reason."""

from __future__ import annotations

import pytest
from celery.app import defaults as celery_defaults

from celeriac.settings import OWN, SETTINGS
from celeriac.settings.old_names import OLD, Spelling, canonical
from celeriac.settings.table import default_of

#: Unset here, so that "not set" can be told from a choice.
UNSET_HERE = {"task_acks_late", "worker_pool_start_method"}


def test_every_setting_of_celery_is_there_and_no_other_but_our_own() -> None:
    assert set(SETTINGS) - set(celery_defaults.DEFAULTS) == {row.name for row in OWN}
    assert set(celery_defaults.DEFAULTS) <= set(SETTINGS)


def test_defaults_are_celerys() -> None:
    differing = {name for name, value in celery_defaults.DEFAULTS.items() if SETTINGS[name].default != value}

    assert differing == UNSET_HERE
    assert all(SETTINGS[name].default is None for name in UNSET_HERE)


def test_every_row_says_what_it_is_in_one_line() -> None:
    kinds = {"str", "bytes", "int", "float", "bool", "list", "tuple", "dict", "any"}

    assert all(row.doc.endswith(".") and "\n" not in row.doc and row.kind in kinds for row in SETTINGS.values())


def test_a_dict_default_is_the_callers_own() -> None:
    default_of("beat_schedule")["x"] = 1

    assert default_of("beat_schedule") == {}


@pytest.mark.parametrize(("old", "new"), sorted(celery_defaults._TO_NEW_KEY.items()))
def test_every_old_name_of_celery_is_understood(old: str, new: str) -> None:
    match = canonical(old)

    assert match is not None
    assert match.name == new


@pytest.mark.parametrize(("old", "new"), sorted(OLD.items()))
def test_no_old_name_means_something_else_under_the_namespace(old: str, new: str) -> None:
    match = canonical(old, "CELERY")

    assert match is None or match.name == new


@pytest.mark.parametrize(
    ("key", "namespace", "expected"),
    [
        ("task_serializer", "", ("task_serializer", Spelling.EXACT)),
        ("TASK_SERIALIZER", "", ("task_serializer", Spelling.UPPER)),
        ("CELERY_TASK_SERIALIZER", "", ("task_serializer", Spelling.OLD)),
        ("CELERY_WORKER_CONCURRENCY", "", ("worker_concurrency", Spelling.PREFIXED)),
        ("CELERY_TASK_SERIALIZER", "CELERY", ("task_serializer", Spelling.PREFIXED)),
        ("CELERY_TASK_SERIALIZER", "CELERY_", ("task_serializer", Spelling.PREFIXED)),
        ("celery_task_serializer", "celery", ("task_serializer", Spelling.PREFIXED)),
        ("CELERY_TASK_RESULT_EXPIRES", "CELERY", ("result_expires", Spelling.OLD)),
        ("CELERYD_CONCURRENCY", "CELERY", ("worker_concurrency", Spelling.OLD)),
        ("PROJ_BROKER_URL", "PROJ", ("broker_url", Spelling.PREFIXED)),
    ],
)
def test_spellings(key: str, namespace: str, expected: tuple[str, Spelling]) -> None:
    assert canonical(key, namespace) == expected


@pytest.mark.parametrize(
    ("key", "namespace"),
    [
        ("BROKER_URL", "CELERY"),  # Celery does not read it either
        ("TASK_SERIALIZER", "CELERY"),
        ("CELERYD_CONCURRENCY", "PROJ"),
        ("TIMEZONE", ""),  # could be anybody's
        ("REDIS_HOST", ""),
        ("DATABASE_URL", ""),
        ("Task_Serializer", ""),
    ],
)
def test_names_that_are_somebody_elses(key: str, namespace: str) -> None:
    assert canonical(key, namespace) is None
