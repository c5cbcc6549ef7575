"""`ledger verify`, `compact`, `export` and `import`: damage is found, and nothing a run gets is changed."""

import json
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persona_assets.errors import LedgerError
from persona_assets.llm.compaction import compact_ledger
from persona_assets.llm.exchange import FORMAT, checksum, export_answers, import_answers
from persona_assets.llm.ledger import ledger_path, open_ledger, read_ledger
from persona_assets.llm.requests import Answer, Failure, Request
from persona_assets.llm.verification import verify_ledger, verify_ledgers
from persona_assets_tests.conftest import Cli
from persona_assets_tests.driving import LANG, STAGE, question

SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
COUNT = 30


def answer_to(request: Request, **changed: object) -> Answer:
    text = f'{{"persona": "{request.origin} vive en Ávila, 在海边"}}'
    base = Answer(request.key, text, "stop", request.max_tokens, "tiny", "host", 30, 0, 12, 1.25, 1, "2026-01-01T00:00")
    return replace(base, **changed)


def failure_of(request: Request) -> Failure:
    return Failure(request.key, "http_400", "no", 1, permanent=True)


def fill(folder: Path, answers: Sequence[Answer | Failure], *, stage: str = STAGE, lang: str = LANG) -> Path:
    with open_ledger(folder, stage, lang) as ledger:
        for answer in answers:
            ledger.record(answer)
    return ledger_path(folder, stage, lang)


def stored(folder: Path, *, stage: str = STAGE, lang: str = LANG) -> list[Answer]:
    with read_ledger(folder, stage, lang) as ledger:
        return list(ledger.answers())


def change(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement, values)
    connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "ledger", [answer_to(question(number)) for number in range(COUNT)])
    return tmp_path / "ledger"


@pytest.fixture
def path(folder: Path) -> Path:
    return ledger_path(folder, STAGE, LANG)


def test_a_sound_ledger_verifies_also_while_it_is_written(folder: Path):
    with open_ledger(folder, STAGE, LANG) as ledger:
        ledger.record(answer_to(question(99), text='half \ud800 "characters"\x00', latency_s=2))
        ledger.record(failure_of(question(100)))
        (found,) = verify_ledgers(folder)
    assert (found.answers, found.failures, found.unsealed, found.faults) == (COUNT + 1, 1, 0, ())


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("update answers set text = replace(text, 'vive', 'vivió') where key = ?", "does not match its checksum"),
        ("update answers set latency_s = 9.0 where key = ?", "does not match its checksum"),
        ("update answers set text = x'00ff' where key = ?", "not a text"),
        ("update answers set max_tokens = 0 where key = ?", "max_tokens is not a positive number"),
    ],
)
def test_an_answer_changed_behind_the_ledgers_back_is_named(path: Path, statement: str, said: str):
    key = question(7).key
    change(path, statement, key)
    found = verify_ledger(path)
    assert {fault.key for fault in found.faults} == {key}
    assert any(said in fault.line() and str(path) in fault.line() for fault in found.faults)


def test_a_key_that_is_none_and_one_that_is_there_twice_are_named(path: Path):
    key = question(3).key
    # As a file whose index has been lost: the table no longer refuses what it holds already.
    change(path, "create table copied as select * from answers")
    change(path, "drop table answers")
    change(path, "alter table copied rename to answers")
    change(path, "insert into answers select * from answers where key = ?", key)
    change(path, "insert into failures values ('no key', 'timeout', '', 1, 0, '')")
    lines = [fault.line() for fault in verify_ledger(path).faults]
    assert any(f"{key}: the same answer is there more than once" in line for line in lines)
    assert any("no key: a failure whose key is not one" in line for line in lines)


def test_files_that_are_no_ledger_of_this_format_are_named(folder: Path, path: Path):
    change(path, "pragma user_version = 7")
    other = path.with_name("conversation.sqlite")
    other.write_bytes(b"no database" * 500)
    faults = {found.stage: found.faults for found in verify_ledgers(folder)}
    assert "has format 7" in faults[STAGE][0].line()
    assert "not a database" in faults["conversation"][0].line()


def test_a_file_whose_maker_was_killed_at_once_is_an_empty_ledger(folder: Path, path: Path):
    path.with_name("conversation.sqlite").touch()
    assert [(found.stage, found.answers, found.faults) for found in verify_ledgers(folder)] == [
        ("conversation", 0, ()),
        (STAGE, COUNT, ()),
    ]


@SHARED_FOLDER
@given(position=st.floats(0, 1, exclude_max=True), flipped=st.integers(1, 255))
def test_a_damaged_byte_is_found_or_has_changed_no_answer(folder: Path, tmp_path: Path, position: float, flipped: int):
    damaged = tmp_path / "damaged" / LANG / f"{STAGE}.sqlite"
    shutil.rmtree(tmp_path / "damaged", ignore_errors=True)
    damaged.parent.mkdir(parents=True)
    content = bytearray(ledger_path(folder, STAGE, LANG).read_bytes())
    content[int(position * len(content))] ^= flipped
    damaged.write_bytes(content)
    if not verify_ledger(damaged).faults:
        assert stored(tmp_path / "damaged") == stored(folder)


def test_a_torn_write_ahead_log_is_no_fault_and_one_damaged_in_the_middle_is(tmp_path: Path):
    source = tmp_path / "live"
    with open_ledger(source, STAGE, LANG) as ledger:
        for number in range(COUNT):
            ledger.record(answer_to(question(number)))
        database, log = ledger.path.read_bytes(), Path(f"{ledger.path}-wal").read_bytes()
    copy = tmp_path / "copy.sqlite"
    beside = Path(f"{copy}-wal")

    def verify(content: bytes) -> tuple[int, bool]:
        copy.write_bytes(database)
        beside.write_bytes(content)
        Path(f"{copy}-shm").unlink(missing_ok=True)
        found = verify_ledger(copy)
        assert found.answers <= COUNT
        return found.torn_bytes, any("write-ahead log is damaged" in fault.what for fault in found.faults)

    assert verify(log) == (0, False)
    for cut in (1, 100, 4200, len(log) // 2):
        torn, damaged = verify(log[:-cut])
        assert torn > 0 or cut == len(log) // 2
        assert not damaged
    broken = bytearray(log)
    broken[len(log) // 2] ^= 1
    assert verify(bytes(broken))[1]


def test_a_ledger_of_an_earlier_program_verifies_and_gets_its_checksums_by_compaction(folder: Path, path: Path):
    change(path, "alter table answers drop column checksum")
    before = stored(folder)
    assert verify_ledger(path).unsealed == COUNT
    assert compact_ledger(folder, STAGE, LANG).sealed == COUNT
    found = verify_ledger(path)
    assert (found.unsealed, found.faults) == (0, ())
    assert stored(folder) == before


def test_an_earlier_program_can_go_on_writing_to_the_file(path: Path):
    # The columns that programs before the checksum name when they insert.
    fields = ", ".join(name for name in vars(answer_to(question(1))))
    values = list(vars(answer_to(question(77))).values())
    change(path, f"insert or replace into answers ({fields}) values ({', '.join('?' * len(values))})", *values)
    found = verify_ledger(path)
    assert (found.answers, found.unsealed, found.faults) == (COUNT + 1, 1, ())


VARIANTS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([64, 128, 256, 512]), st.booleans()), min_size=1, max_size=12
)


@SHARED_FOLDER
@given(variants=VARIANTS)
def test_compaction_changes_no_look_up(tmp_path: Path, variants: list[tuple[int, int, bool]]):
    shutil.rmtree(tmp_path / "many", ignore_errors=True)
    answers = [
        answer_to(question(number), max_tokens=room, finish_reason="length" if cut else "stop", text=f"{room} {cut}")
        for number, room, cut in variants
    ]
    path = fill(tmp_path / "many", answers)
    asked = [question(number, max_tokens=room) for number in range(3) for room in (1, 64, 100, 128, 256, 300, 512, 999)]

    def looked_up() -> list[object]:
        with read_ledger(tmp_path / "many", STAGE, LANG) as ledger:
            return [ledger.lookup([request]) for request in asked]

    before, predicted = looked_up(), verify_ledger(path).superseded
    assert compact_ledger(tmp_path / "many", STAGE, LANG).superseded == predicted
    assert looked_up() == before
    again = compact_ledger(tmp_path / "many", STAGE, LANG)
    assert (again.superseded, again.bytes_before) == (0, again.bytes_after)


def test_compaction_drops_what_is_superseded_and_gives_the_space_back(folder: Path, path: Path):
    cut = [
        answer_to(question(number), max_tokens=8, finish_reason="length", text="x" * 20_000) for number in range(COUNT)
    ]
    fill(folder, cut)
    with open_ledger(folder, STAGE, LANG) as ledger:
        ledger.record(failure_of(question(500)))
        ledger.record(failure_of(question(1)))
    done = compact_ledger(folder, STAGE, LANG)
    assert (done.superseded, done.outranked_failures) == (COUNT, 1)
    assert done.bytes_before - done.bytes_after > 20_000 * COUNT * 0.9
    assert path.stat().st_size == done.bytes_after
    found = verify_ledger(path)
    assert (found.answers, found.failures, found.superseded, found.faults) == (COUNT, 1, 0, ())


def test_compaction_refuses_a_ledger_in_use_and_one_that_does_not_verify(folder: Path, path: Path):
    with open_ledger(folder, STAGE, LANG), pytest.raises(LedgerError, match="is in use by process"):
        compact_ledger(folder, STAGE, LANG)
    change(path, "update answers set text = 'other' where key = ?", question(2).key)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=f"does not verify.*{question(2).key}"):
        compact_ledger(folder, STAGE, LANG)
    assert path.read_bytes() == before


def test_an_export_imports_to_the_same_answers_and_a_second_time_to_nothing_new(folder: Path, tmp_path: Path):
    fill(folder, [answer_to(question(5, "el mar"), text="dos\n\u2028líneas \x00")], stage="conversation", lang="es")
    shared, again = tmp_path / "answers.jsonl", tmp_path / "again.jsonl"
    assert export_answers(folder, shared) == COUNT + 1
    other = tmp_path / "other"
    assert vars(import_answers(other, shared)) == {"read": COUNT + 1, "added": COUNT + 1}
    assert vars(import_answers(other, shared)) == {"read": COUNT + 1, "added": 0}
    assert stored(other) == stored(folder)
    assert stored(other, stage="conversation", lang="es") == stored(folder, stage="conversation", lang="es")
    export_answers(other, again)
    assert again.read_bytes() == shared.read_bytes()
    assert [found.faults for found in verify_ledgers(other)] == [(), ()]


@SHARED_FOLDER
@given(position=st.floats(0, 1, exclude_max=True), flipped=st.integers(1, 255))
def test_an_export_with_a_damaged_byte_is_refused_whole(folder: Path, tmp_path: Path, position: float, flipped: int):
    shared, other = tmp_path / "answers.jsonl", tmp_path / "other"
    shutil.rmtree(other, ignore_errors=True)
    export_answers(folder, shared)
    content = bytearray(shared.read_bytes())
    content[int(position * len(content))] ^= flipped
    shared.write_bytes(content)
    refusal = ""
    try:
        import_answers(other, shared)
    except LedgerError as error:
        refusal = str(error)
    if refusal:
        assert "nothing was imported" in refusal
        assert not other.exists()
    else:
        # One blank for another between two values: not one value is another.
        assert stored(other) == stored(folder)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (json.dumps({**FORMAT, "version": 2}), "has version 2, and this program reads version 1"),
        (json.dumps({"format": "other"}), "is not an answer file"),
        ("", "is not an answer file"),
        ("[]", "is not an answer file"),
        ("\udcff", "is damaged"),
    ],
)
def test_files_of_another_version_or_kind_are_refused(tmp_path: Path, first: str, said: str):
    source = tmp_path / "answers.jsonl"
    source.write_bytes(first.encode("utf-8", "surrogateescape"))
    with pytest.raises(LedgerError, match=said):
        import_answers(tmp_path / "ledger", source)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lang": "../../elsewhere"}, "a lang that is none"),
        ({"stage": "/etc/passwd"}, "a stage that is none"),
        ({"key": "short"}, "a key that is none"),
        ({"max_tokens": "256"}, "a max_tokens of the wrong kind"),
        ({"text": None}, "a text of the wrong kind"),
        ({"latency_s": float("nan")}, "a latency_s of the wrong kind"),
        ({"extra": 1}, "other fields than expected"),
    ],
)
def test_records_with_a_right_checksum_over_wrong_values_are_refused(
    folder: Path, tmp_path: Path, changed: dict[str, object], said: str
):
    shared = tmp_path / "answers.jsonl"
    export_answers(folder, shared)
    lines = shared.read_text(encoding="utf-8").splitlines()
    record = {**json.loads(lines[2]), **changed}
    lines[2] = json.dumps({**record, "checksum": checksum(record)}, ensure_ascii=False)
    shared.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(LedgerError, match=f"line 3 has {said}"):
        import_answers(tmp_path / "other", shared)
    assert not (tmp_path / "other").exists()
    assert not (tmp_path.parent / "elsewhere").exists()


def test_the_commands_print_what_they_found_and_exit_with_1_for_a_fault(cli: Cli, tmp_path: Path):
    path = fill(tmp_path / "data" / "ledger", [answer_to(question(number)) for number in range(3)])
    sound = cli("ledger", "verify")
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "1 ledgers, 3 answers, 0 faults" in sound.stdout
    compacted = cli("ledger", "compact")
    assert compacted.returncode == 0, compacted.stderr
    assert "bytes before" in compacted.stdout
    change(path, "update answers set text = 'other' where key = ?", question(1).key)
    broken = cli("ledger", "verify")
    assert broken.returncode == 1
    assert f"FAULT {path}: {question(1).key}: the answer does not match its checksum" in broken.stdout
    told = json.loads(cli("ledger", "verify", "--json").stdout)
    assert told[0]["faults"][0]["key"] == question(1).key
    refused = cli("ledger", "compact")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: not compacted")
