import datetime as dt
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from persona_assets.errors import SeedError
from persona_assets.languages import languages
from persona_assets.seeds.reading import COLUMNS, SUFFIXES, documents_address, open_documents

SHARED_DOCUMENTS = Path(__file__).parents[2] / "shared" / "data" / "documents"
NOBODY = 65534


def write_parquet(path: Path, columns: dict[str, object], **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def write_lines(path: Path, *lines: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def texts(address: str | Path) -> list[str | None]:
    return [row.text for row in open_documents(str(address))]


def message(address: str | Path) -> str:
    """The one line with which reading everything there fails."""
    with pytest.raises(SeedError) as caught:
        list(open_documents(str(address)))
    told = str(caught.value)
    assert "\n" not in told
    return told


@contextmanager
def without_privileges() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except PermissionError:
        pytest.skip("root here may not become another user")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def test_the_setting_resolves_to_samples_fineweb_or_a_pattern_of_ones_own():
    chinese = languages()["zh"]
    assert Path(documents_address("samples", chinese)).parts[-3:] == ("samples", "documents", "zh.jsonl")
    assert documents_address("fineweb", chinese) == chinese.seeds
    own = documents_address("my/{lang}/{iso639_3}_{script}/{other}/*.parquet", chinese)
    assert own == "my/zh/cmn_Hani/{other}/*.parquet"


@pytest.mark.parametrize("code", sorted(languages()))
def test_the_bundled_samples_read_without_a_fault(code):
    address = Path(documents_address("samples", languages()[code]))
    if not address.is_file():
        pytest.skip(f"no samples are bundled for {code}")
    rows = list(open_documents(str(address)))
    assert rows
    assert all(row.text and row.fault is None and row.file == address.name for row in rows)


def test_every_column_of_fineweb2_is_read_from_parquet(tmp_path):
    full = {
        "text": ["Un texto"],
        "id": ["<urn:uuid:1>"],
        "url": ["https://a.example/1"],
        "date": ["2022-11-15T14:32:08Z"],
        "dump": ["CC-MAIN-2022-49"],
        "language": ["spa"],
        "language_score": [0.99],
        "language_script": ["Latn"],
        "minhash_cluster_size": [3],
        "license": ["CC0"],
        "kind": ["news"],
        "file_path": ["s3://commoncrawl/x"],
    }
    row = next(open_documents(str(write_parquet(tmp_path / "a.parquet", full))))
    read = [getattr(row, "source_id" if column == "id" else column) for column in COLUMNS]
    assert read == [full[column][0] for column in COLUMNS]
    assert (row.file, row.row, row.fault) == ("a.parquet", 0, None)


def test_absent_columns_are_none(tmp_path):
    row = next(open_documents(str(write_parquet(tmp_path / "a.parquet", {"text": ["x"]}))))
    assert row.text == "x"
    assert {row.kind, row.license, row.language_score, row.source_id} == {None}


def test_a_folder_is_read_in_sorted_order_to_any_depth_without_other_files(tmp_path):
    write_lines(tmp_path / "b.jsonl", '{"text": "b"}')
    write_parquet(tmp_path / "a.parquet", {"text": ["a"]})
    write_lines(tmp_path / "c" / "c.jsonl.gz", '{"text": "c"}')
    write_lines(tmp_path / "d.json.gz", '{"text": "d"}')
    write_lines(tmp_path / "README.md", "not a document")
    write_lines(tmp_path / ".cache" / "e.jsonl", '{"text": "hidden"}')
    rows = list(open_documents(f"{tmp_path}/"))
    assert [(row.file, row.text) for row in rows] == [
        ("a.parquet", "a"),
        ("b.jsonl", "b"),
        ("c/c.jsonl.gz", "c"),
        ("d.json.gz", "d"),
    ]


def test_a_glob_names_files_below_its_fixed_part_so_that_positions_stay_unique(tmp_path):
    for part in ("test", "train"):
        write_lines(tmp_path / part / "000.jsonl", json.dumps({"text": part}))
    rows = list(open_documents(f"{tmp_path}/*/000.jsonl"))
    assert [row.file for row in rows] == ["test/000.jsonl", "train/000.jsonl"]


def test_symbolic_links_are_followed_as_in_a_hub_cache(tmp_path):
    blob = write_parquet(tmp_path / "blobs" / "0a1b.parquet", {"text": ["linked"]})
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "a.parquet").symlink_to(blob)
    assert texts(snapshot) == texts(snapshot / "*.parquet") == ["linked"]


def test_a_file_whose_name_looks_like_a_glob_is_read_as_itself(tmp_path):
    assert texts(write_lines(tmp_path / "docs[1].jsonl", '{"text": "x"}')) == ["x"]


def test_a_remote_glob_is_read_in_sorted_order(memory):
    for name in ("b", "a"):
        memory.pipe_file(f"/docs/{name}.jsonl", json.dumps({"text": name}).encode())
    rows = list(open_documents("memory://docs/*.jsonl"))
    assert [(row.file, row.text) for row in rows] == [("a.jsonl", "a"), ("b.jsonl", "b")]


class CountingFileSystem(MemoryFileSystem):
    """The memory file system, and how many bytes were read from it."""

    protocol = "counting"
    cachable = False
    read = 0

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("counting://"))

    def _open(self, path, mode="rb", **options):
        inner = super()._open(path, mode, **options)
        plain_read = inner.read

        class Counted:
            def __getattr__(self, name):
                return getattr(inner, name)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

            def read(self, size=-1):
                content = plain_read(size)
                CountingFileSystem.read += len(content)
                return content

        return Counted()


@pytest.fixture
def counting(memory):
    fsspec.register_implementation("counting", CountingFileSystem, clobber=True)
    CountingFileSystem.read = 0
    return CountingFileSystem


@pytest.mark.parametrize("group_rows", [1_000, 20_000], ids=["many row groups", "one huge row group"])
def test_taking_the_first_rows_reads_a_small_share_of_a_parquet_file(memory, counting, group_rows):
    chance = random.Random(0)
    columns = {
        "text": [chance.randbytes(500).hex() for _ in range(20_000)],
        "id": [str(number) for number in range(20_000)],
        "top_langs": [chance.randbytes(500).hex() for _ in range(20_000)],
    }
    with memory.open("/docs/big.parquet", "wb") as handle:
        pq.write_table(pa.table(columns), handle, row_group_size=group_rows)
    size = memory.size("/docs/big.parquet")
    rows = list(islice(open_documents("counting://docs/big.parquet"), 1_000))
    assert [row.row for row in rows] == list(range(1_000))
    assert 0 < counting.read < size / 8


def test_later_files_are_not_opened_before_their_turn(tmp_path):
    write_lines(tmp_path / "a.jsonl", '{"text": "a"}')
    (tmp_path / "b.parquet").write_bytes(b"not Parquet")
    assert [row.text for row in islice(open_documents(str(tmp_path)), 1)] == ["a"]


def test_the_size_of_batches_never_shows(tmp_path):
    columns = {"text": [str(number) for number in range(100)]}
    path = str(write_parquet(tmp_path / "a.parquet", columns, row_group_size=7))
    assert list(open_documents(path, batch_rows=1)) == list(open_documents(path, batch_rows=64))


def test_a_line_that_is_no_json_object_is_a_row_with_a_fault(tmp_path):
    lines = ('{"text": "one"}', "{broken", "", "[1]", b'{"text": "\xff"}', "[" * 100_000, '{"text": "two"}')
    rows = list(open_documents(str(write_lines(tmp_path / "a.jsonl", *lines))))
    assert [(row.row, row.fault) for row in rows] == [
        (0, None),
        (1, "invalid_json"),
        (3, "invalid_json"),
        (4, "invalid_json"),
        (5, "invalid_json"),
        (6, None),
    ]
    assert rows[2].fault_evidence == "not an object but list"


def test_a_byte_order_mark_is_no_fault(tmp_path):
    assert texts(write_lines(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "x"}')) == ["x"]


def test_a_value_of_the_wrong_type_is_a_fault_that_names_column_and_type(tmp_path):
    values = [
        {"text": 5},
        {"text": "x", "language_score": "0.9"},
        {"text": "x", "language_score": True},
        {"text": "x", "minhash_cluster_size": 1.5},
        {"text": "x", "minhash_cluster_size": 2**63},
        {"text": "x", "language_score": 10**400},
    ]
    rows = list(open_documents(str(write_lines(tmp_path / "a.jsonl", *map(json.dumps, values)))))
    assert {row.fault for row in rows} == {"wrong_type"}
    assert rows[0].text is None
    assert rows[1].text == "x"
    assert rows[1].fault_evidence == "language_score: str, expected a number"


def test_harmless_types_are_converted(tmp_path):
    moment = dt.datetime(2022, 11, 15, 14, 32, 8, tzinfo=dt.UTC)
    columns = {
        "text": pa.array(["a", "b"]).dictionary_encode(),
        "id": pa.array([7, None]),
        "date": pa.array([moment, None], pa.timestamp("ns", tz="Europe/Madrid")),
        "language_score": pa.array([1, None], pa.int32()),
        "minhash_cluster_size": pa.array([3.0, float("nan")]),
        "license": pa.nulls(2),
    }
    first, second = open_documents(str(write_parquet(tmp_path / "a.parquet", columns)))
    assert (first.text, first.source_id, first.date) == ("a", "7", "2022-11-15T14:32:08Z")
    assert (first.language_score, first.minhash_cluster_size, first.license) == (1.0, 3, None)
    assert isinstance(first.language_score, float)
    assert (second.date, second.language_score, second.minhash_cluster_size) == (None, None, None)
    assert first.fault is second.fault is None


def test_days_and_times_without_a_zone_become_iso_text(tmp_path):
    for name, value in (("a", dt.date(2022, 11, 15)), ("b", dt.datetime(2022, 11, 15, 1, 2, 3))):  # noqa: DTZ001
        write_parquet(tmp_path / f"{name}.parquet", {"text": ["x"], "date": [value]})
    assert [row.date for row in open_documents(str(tmp_path))] == ["2022-11-15", "2022-11-15T01:02:03"]


def test_parquet_text_that_is_not_utf8_is_a_fault_of_its_row_alone(tmp_path):
    raw = pa.array([b"good", b"\xff\xfe", b"fine"])
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    rows = list(open_documents(str(write_parquet(tmp_path / "a.parquet", {"text": text}))))
    assert [(row.text, row.fault) for row in rows] == [("good", None), (None, "wrong_type"), ("fine", None)]


@pytest.mark.parametrize(
    ("column", "values"), [("language_score", ["0.9"]), ("text", [b"x"]), ("url", [["a"]]), ("text", [1])]
)
def test_a_parquet_column_of_an_unusable_type_is_named(tmp_path, column, values):
    told = message(write_parquet(tmp_path / "a.parquet", {"text": ["x"], column: values}))
    assert "a.parquet" in told
    assert f"`{column}`" in told


def test_a_missing_text_column_is_told_with_the_columns_found(tmp_path):
    told = message(write_parquet(tmp_path / "a.parquet", {"content": ["x"], "id": ["1"]}))
    assert "a.parquet has no column `text` (found: content, id)" in told


@pytest.mark.parametrize("lines", [1, 150])
def test_json_lines_without_text_are_told_with_the_keys_found(tmp_path, lines):
    told = message(write_lines(tmp_path / "a.jsonl", *['{"content": "x", "id": "1"}'] * lines))
    assert "a.jsonl has no column `text` (found: content, id)" in told


def test_a_single_object_without_text_is_a_row(tmp_path):
    assert texts(write_lines(tmp_path / "a.jsonl", '{"id": "1"}', '{"text": "x"}')) == [None, "x"]


@pytest.mark.parametrize("name", ["nothing", "*.parquet", "a.txt", "empty"])
def test_an_address_without_documents_is_told_at_once(tmp_path, name):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeedError) as caught:
        open_documents(f"{tmp_path}/{name}")
    assert f"{tmp_path}/{name}" in str(caught.value)
    assert all(suffix in str(caught.value) for suffix in SUFFIXES)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PAR1" * 8])
def test_a_file_that_is_not_parquet_is_named(tmp_path, content):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert f"{path} is not a sound Parquet file" in message(path)


def test_a_parquet_file_cut_short_is_named(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"text": ["x" * 1000]})
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path} is not a sound Parquet file" in message(path)


def test_a_damaged_page_is_told_after_the_rows_before_it(tmp_path):
    chance = random.Random(0)
    path = write_parquet(
        tmp_path / "a.parquet",
        {"text": [chance.randbytes(500).hex() for _ in range(4_000)]},
        row_group_size=1_000,
        compression="zstd",
    )
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50_000] = bytes(50_000)
    path.write_bytes(content)
    rows = open_documents(str(path))
    assert len(list(islice(rows, 1_000))) == 1_000
    with pytest.raises(SeedError, match=f"{path} is damaged"):
        list(rows)


def test_a_gzip_file_cut_short_is_named(tmp_path):
    path = write_lines(tmp_path / "a.jsonl.gz", *[json.dumps({"text": os.urandom(50).hex()})] * 100)
    path.write_bytes(path.read_bytes()[:-30])
    assert f"{path} is damaged or cut short" in message(path)


def test_a_file_that_is_not_gzip_is_named(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b'{"text": "plain"}\n')
    assert f"{path} is damaged or cut short" in message(path)


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """A folder that any user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_file_that_may_not_be_read_is_named(reachable_folder):
    path = write_lines(reachable_folder / "a.jsonl", '{"text": "x"}')
    path.chmod(0)
    with without_privileges():
        assert f"no permission to read {path}" in message(path)


@pytest.mark.parametrize("below", ["", "/*.jsonl", "/a.jsonl", "/sub"])
def test_a_folder_that_may_not_be_listed_is_told_instead_of_found_empty(reachable_folder, below):
    closed = reachable_folder / "closed"
    write_lines(closed / "a.jsonl", '{"text": "x"}')
    closed.chmod(0)
    with without_privileges():
        assert "no permission to read" in message(f"{closed}{below}")
    closed.chmod(0o755)


def test_an_unknown_protocol_is_told():
    assert "nowhere://x" in message("nowhere://x/*.parquet")


def test_credentials_in_an_address_are_not_repeated():
    told = message("nowhere://user:secret@host/a.parquet")
    assert "secret" not in told
    assert "host/a.parquet" in told


def run_alone(code: str, **environment: str) -> str:
    """What `code` prints in a fresh interpreter, whose hub settings are read at import."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


READ_THE_HUB = """
from persona_assets.errors import SeedError
from persona_assets.seeds.reading import open_documents
try:
    list(open_documents("hf://datasets/someone/something/data/*.parquet"))
except SeedError as error:
    print(error)
"""


def test_a_hub_address_without_the_hub_package_names_the_extra():
    told = run_alone("import sys; sys.modules['huggingface_hub'] = None\n" + READ_THE_HUB)
    assert "pip install 'persona-assets[hub]'" in told
    assert told.count("\n") == 1


def test_an_unreachable_hub_is_one_line():
    pytest.importorskip("huggingface_hub")
    told = run_alone(READ_THE_HUB, HF_ENDPOINT="http://127.0.0.1:9")
    assert "cannot read hf://datasets/someone/something" in told
    assert told.count("\n") == 1


class EmptyHub(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


def test_a_repository_that_is_not_on_the_hub_is_one_line():
    pytest.importorskip("huggingface_hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        told = run_alone(READ_THE_HUB, HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert "hf://datasets/someone/something" in told
    assert "hf auth login" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("code", ["es", "zh", "ar", "en"])
def test_real_documents_read_without_a_fault(code):
    path = SHARED_DOCUMENTS / f"{code}.parquet"
    if not path.is_file():
        pytest.skip("the shared data is not here")
    rows = list(open_documents(str(path)))
    assert len(rows) == pq.ParquetFile(path).metadata.num_rows
    assert all(row.fault is None and row.text and row.source_id for row in rows)
