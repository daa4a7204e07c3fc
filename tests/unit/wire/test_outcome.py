"""Result documents and the exceptions in them, hostile ones included."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac import errors, exceptions
from celeriac.errors import ContentDisallowed, DecodeError, EncodeError, SecurityError, WorkerLostError
from celeriac.wire import failure, outcome

DONE = datetime(2030, 1, 1, tzinfo=UTC)


class Custom(Exception):
    pass


class Particular(Exception):
    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"{code}: {why}")


class Outer:
    class Inner(Exception):
        pass


class TestDocuments:
    def test_there_and_back(self) -> None:
        read = outcome.read(
            outcome.document(
                "id", "SUCCESS", {"a": b"\xff"}, date_done=DONE, group_id="g", parent_id="p", extended={"name": "t"}
            )
        )
        assert read == outcome.Outcome(
            "id", "SUCCESS", {"a": b"\xff"}, None, [], "2030-01-01T00:00:00+00:00", "g", "p", {"name": "t"}
        )
        assert read.exception() is None

    @pytest.mark.parametrize("state", ["STARTED", "RETRY", "PROGRESS", "MY STATE"])
    def test_only_what_is_done_has_a_date(self, state: str) -> None:
        assert outcome.read(outcome.document("id", state, None, date_done=DONE)).date_done is None

    def test_an_exception_returned_by_a_successful_task_is_no_failure(self) -> None:
        with pytest.raises(EncodeError, match=r"^result: object of type ValueError"):
            outcome.document("id", "SUCCESS", ValueError())

    def test_the_place_in_a_result(self) -> None:
        with pytest.raises(EncodeError, match=r"^result\['a'\]\[0\]: object of type set"):
            outcome.document("id", "SUCCESS", {"a": [{1}]})

    @pytest.mark.parametrize(
        "document",
        [
            b"",
            b"nonsense",
            b"[]",
            b'{"status": 5}',
            b'{"status": "SUCCESS", "children": 5}',
            b'{"status": "FAILURE", "traceback": {"a": 1}}',
            b'{"status": "SUCCESS", "task_id": ["a"], "date_done": 5}',
            b"[" * 100_000,
            b"\x00celery-compressed\x00",
            b"\x00celery-compressed\x00application/x-gzip\x00abc",
            b"\x00celery-compressed\x00\xff\x00abc",
        ],
        ids=lambda document: repr(document)[:30],
    )
    def test_what_is_no_document(self, document: bytes) -> None:
        with pytest.raises(DecodeError):
            outcome.read(document)

    @given(st.binary(max_size=60))
    def test_bytes_of_any_kind(self, document: bytes) -> None:
        with pytest.raises(DecodeError):
            outcome.read(document)

    def test_pickle_is_refused_in_words_that_name_the_setting(self) -> None:
        document = outcome.document("id", "SUCCESS", 1, serializer="pickle")
        with pytest.raises(ContentDisallowed, match=r"pickle.*result_accept_content"):
            outcome.read(document, serializer="pickle")


def there_and_back(error: BaseException) -> BaseException:
    back = failure.from_wire(json.loads(json.dumps(failure.to_wire(error))))
    assert back is not None
    return back


class TestFailures:
    @pytest.mark.parametrize(
        "error", [Custom("a", 1), Outer.Inner("x"), KeyError("k"), Custom(), GeneratorExit()], ids=repr
    )
    def test_there_and_back(self, error: BaseException) -> None:
        back = there_and_back(error)
        assert type(back) is type(error)
        assert back.args == error.args

    def test_a_constructor_with_other_wishes(self) -> None:
        back = there_and_back(Particular(5, why="so"))
        assert type(back) is Particular
        assert str(back) == "5: so"

    @pytest.mark.parametrize(
        ("error", "how"),
        [
            (SystemExit(3), "exitcode 3"),
            (SystemExit("a text"), "exitcode 1"),
            (SystemExit(), "exitcode 0"),
            (KeyboardInterrupt(), "KeyboardInterrupt"),
        ],
    )
    def test_what_would_end_the_process_that_asks(self, error: BaseException, how: str) -> None:
        assert failure.to_wire(error)["exc_module"] == "billiard.exceptions"  # the very fields of Celery's prefork pool
        back = there_and_back(error)
        assert type(back) is WorkerLostError
        assert str(back) == f"Worker exited prematurely: {how}."

    def test_one_that_cannot_be_shown_without_its_init_has_a_stand_in(self) -> None:
        back = there_and_back(HTTPError("http://here", 404, "not found", Message(), None))
        assert (type(back).__module__, type(back).__qualname__) == ("urllib.error", "HTTPError")
        assert str(back) == ""
        assert repr(back) == "HTTPError()"

    def test_what_a_stock_worker_wrapped_since_it_does_not_pickle(self) -> None:
        wrapped = [__name__, "Particular", ["5: so"], "Particular(…)"]
        stored = {
            "exc_type": "UnpickleableExceptionWrapper",
            "exc_module": "celery.utils.serialization",
            "exc_message": wrapped,
        }
        back = failure.from_wire(stored)
        assert type(back) is Particular
        assert str(back) == "5: so"
        unlike = failure.from_wire({**stored, "exc_message": [1, 2, 3, 4]})
        assert type(unlike).__name__ == "UnpickleableExceptionWrapper"

    @pytest.mark.parametrize("name", ["SoftTimeLimitExceeded", "TimeLimitExceeded", "Terminated", "WorkerLostError"])
    def test_billiards_errors_are_ours(self, name: str) -> None:
        back = failure.from_wire({"exc_type": name, "exc_module": "billiard.exceptions", "exc_message": [3]})
        assert type(back) is getattr(exceptions, name)
        assert failure.to_wire(type(back)(3))["exc_module"] == "billiard.exceptions"

    def test_a_class_that_is_not_here_has_a_stand_in(self) -> None:
        stored = {"exc_type": "Some.Error", "exc_module": "not.here", "exc_message": ["a", 1]}
        back = failure.from_wire(stored)
        assert back is not None
        kind = type(back)
        assert (kind.__name__, kind.__qualname__, kind.__module__) == ("Error", "Some.Error", "not.here")
        assert (back.args, str(back)) == (("a", 1), "('a', 1)")
        assert type(failure.from_wire(stored)) is kind
        assert failure.to_wire(back)["exc_type"] == "Some.Error"

    def test_a_local_class_has_a_stand_in(self) -> None:
        class Local(Exception):
            pass

        back = there_and_back(Local("a"))
        assert type(back).__qualname__ == Local.__qualname__
        assert back.args == ("a",)

    @pytest.mark.parametrize(
        "name", ["TimeoutError", "WorkerLostError", "Retry", "Reject", "DecodeError", "FencedError"]
    )
    def test_our_own(self, name: str) -> None:
        kind = getattr(errors, name)
        stored = failure.to_wire(kind("because"))
        assert type(failure.from_wire(stored)) is kind

    def test_the_base_has_celerys_name(self) -> None:
        stored = failure.to_wire(errors.CeleriacError("x"))
        assert (stored["exc_module"], stored["exc_type"]) == ("celery.exceptions", "CeleryError")
        assert type(failure.from_wire(stored)) is errors.CeleriacError

    @pytest.mark.parametrize("module", ["celery.exceptions", "billiard.exceptions"])
    def test_one_class_under_each_of_its_names(self, module: str) -> None:
        stored = {"exc_type": "WorkerLostError", "exc_module": module, "exc_message": ["x"]}
        assert type(failure.from_wire(stored)) is errors.WorkerLostError

    def test_arguments_that_json_cannot_carry_become_text(self) -> None:
        stored = failure.to_wire(Custom({1}, [1], b"\xff"))
        assert stored["exc_message"] == ("{1}", [1], b"\xff")

    @pytest.mark.parametrize("stored", [None, {}, ""])
    def test_nothing(self, stored: Any) -> None:
        assert failure.from_wire(stored) is None


class TestHostileExceptions:
    def test_any_exception_is_written(self) -> None:
        class Unprintable:
            def __repr__(self) -> str:
                raise ValueError

            __str__ = __repr__

        class NoArgs(Exception):
            @property
            def args(self) -> Any:  # type: ignore[override]
                raise KeyError

        circular: list[Any] = []
        circular.append(circular)
        deep: list[Any] = []
        for _ in range(50_000):
            deep = [deep]
        for error in (
            Custom(Unprintable()),
            NoArgs(),
            Custom(circular),
            Custom(deep),
            Custom("\ud800"),
            Custom(10**5000),
        ):
            document = outcome.document("id", "FAILURE", error, date_done=DONE)
            assert outcome.read(document).result["exc_type"]

    @pytest.mark.parametrize(
        "module, name",
        [("os", "system"), ("builtins", "eval"), ("builtins", "dict"), ("os.path", "join"), ("subprocess", "Popen")],
    )
    def test_what_is_no_exception_class_is_not_called(self, module: str, name: str) -> None:
        with pytest.raises(SecurityError, match="Expected an exception class"):
            failure.from_wire({"exc_type": name, "exc_module": module, "exc_message": "touch /tmp/x"})

    @pytest.mark.parametrize("module, name", [("os", "sys.exit"), ("os", "path.join"), ("sys", "modules.get")])
    def test_names_lead_through_classes_only(self, module: str, name: str) -> None:
        back = failure.from_wire({"exc_type": name, "exc_module": module, "exc_message": ["x"]})
        assert type(back) is failure.stand_in(name, module)

    @pytest.mark.parametrize(
        "stored", [5, "text", [1], {"exc_module": "os"}, {"exc_type": 5}, {"exc_type": ""}, {"a": 1}], ids=repr
    )
    def test_what_names_nothing(self, stored: Any) -> None:
        with pytest.raises(ValueError):
            failure.from_wire(stored)

    @pytest.mark.parametrize("module", [5, "", "..", ".", "a..b", "\x00", "os.", "os.nothing.here", "x" * 10_000])
    @pytest.mark.parametrize("name", [".", "a.", ".a", "__class__", "\x00", "x y"])
    def test_names_that_are_none(self, module: Any, name: str) -> None:
        back = failure.from_wire({"exc_type": name, "exc_module": module, "exc_message": None})
        assert isinstance(back, BaseException)

    def test_nothing_is_imported_for_a_result_but_the_rest_of_a_package_in_use(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = tmp_path / "shop"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "errors.py").write_text("class Sold(Exception): pass")
        (package / "__main__.py").write_text("raise SystemExit('a program was run')")
        (package / "broken.py").write_text("raise SystemExit('not for import')")
        monkeypatch.syspath_prepend(tmp_path)
        stored = {"exc_type": "Sold", "exc_module": "shop.errors", "exc_message": ["out"]}
        assert type(failure.from_wire(stored)) is failure.stand_in("Sold", "shop.errors")
        assert "shop" not in sys.modules
        try:
            import shop  # type: ignore[import-not-found]

            back = failure.from_wire(stored)
            assert type(back) is shop.errors.Sold
            for name in ("__main__", "broken", "absent"):
                back = failure.from_wire({**stored, "exc_module": f"shop.{name}"})
                assert type(back) is failure.stand_in("Sold", f"shop.{name}")
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
                del sys.modules[name]
