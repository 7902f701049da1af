import fcntl
import hashlib
import io
import json
import logging
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vismodels.cards.croissant import to_croissant
from vismodels.cards.fetch import fetch
from vismodels.cards.find import ChecksumError, DataMissingError, Digest, check, find, find_folder
from vismodels.cards.schema import UNVERIFIED, DataCard, list_cards, load_card, read_card
from vismodels.config import ConfigError, parse_config
from vismodels.files import FileError, project_root
from vismodels.provenance import CodeIndex

PAYLOAD = random.Random(0).randbytes(300_000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def section(**changes: Any) -> dict[str, Any]:
    """Return a valid card of two small files, as read from YAML, with some keys changed."""
    return {
        "name": "toy",
        "version": "1.0.0",
        "title": "Toy",
        "task": "test",
        "homepage": "https://example.org",
        "citation": "Somebody, 2020",
        "licence": {"spdx": "CC0-1.0"},
        "access": "open",
        "how_to_get": "ask somebody",
        "folder": "sr/Töy set",
        "files": [
            {"path": "a.png", "bytes": 1, "sha256": sha256(b"a")},
            {"path": "sub/b ü.png", "bytes": 1, "sha256": sha256(b"b")},
        ],
        "splits": {"train": ["a.png"], "test": ["sub/*.png"]},
        "personal_data": "none",
        "intended_use": "tests",
        "maintainer": "nobody",
        **changes,
    }


def card_of(**changes: Any) -> DataCard:
    return parse_config(DataCard, section(**changes), "toy")


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """A folder that holds the data of the toy card."""
    root = tmp_path / "data röot"
    write(root / "sr/Töy set/a.png", b"a")
    write(root / "sr/Töy set/sub/b ü.png", b"b")
    return root


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def listing(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder which every user can reach (those of `tmp_path` are private)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Give up root's right to read and write everything, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


# --- the project's cards -----------------------------------------------------------------------


def test_all_cards_of_the_project_fit_the_schema() -> None:
    names = list_cards()
    assert {"wheel_photographs", "set5", "set14", "t91", "bsd200"} <= set(names)
    assert [load_card(name).name for name in names] == names


@pytest.mark.parametrize(("name", "items"), [("set5", 10), ("set14", 28), ("t91", 91)])
def test_all_files_of_a_folder_set_are_listed_with_checksums(name: str, items: int) -> None:
    card = load_card(name)
    assert len(card.item_names()) == items
    assert UNVERIFIED not in {file.sha256 for file in card.files}


def test_bsd200_never_hands_out_the_woman_of_set5() -> None:
    card = load_card("bsd200")
    assert len(card.files) == 200
    assert set(card.item_names()) == {file.path for file in card.files} - {"302003.jpg"}


def test_wheel_photographs_are_found_and_are_those_of_the_card() -> None:
    digests = find("wheel_photographs").digests()
    assert len(digests) == 14
    assert all(digest.verified for digest in digests.values())
    assert {status.status for status in check("wheel_photographs")} == {"ok"}


def test_every_wheel_photograph_is_in_one_split_and_the_motorcycles_in_the_same() -> None:
    found = find("wheel_photographs")
    splits = {name: set(found.split(name)) for name in found.card.splits}
    assert splits["test"] == {"chelsea.png", "coffee.png", "rocket.jpg", "flower.jpg"}
    assert splits["validation"] == {"camera.png", "coins.png"}
    assert sorted(name for names in splits.values() for name in names) == list(found.files)
    assert {"motorcycle_left.png", "motorcycle_right.png"} <= splits["train"]


def test_every_wheel_photograph_has_its_own_licence_and_attribution() -> None:
    listed = load_card("wheel_photographs").files
    assert all(file.licence and file.attribution for file in listed)


def test_cards_and_packages_are_read_without_torch_or_the_packages() -> None:
    heavy = {"torch", "numpy", "skimage", "sklearn", "requests"}
    code = (
        "import sys; from vismodels.cards.find import find;"
        "find('wheel_photographs').digests();"
        f"found = {heavy} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_code_that_finds_data_reaches_neither_the_download_nor_croissant() -> None:
    root = project_root()
    reached = CodeIndex(root, root / "vismodels").reached("vismodels/data/manifest.py")
    parts = {Path(name).stem for name in reached if name.startswith("vismodels/cards/")}
    assert parts == {"__init__", "find", "schema"}


# --- schema ------------------------------------------------------------------------------------


def test_unknown_card_suggests_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"no data card 'set_5'; did you mean 'set5'\?"):
        load_card("set_5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licens": 1}, r"toy\.licens: unknown key; did you mean 'licence'\?"),
        ({"files": [{"path": "a", "sha": "x"}]}, r"unknown key; did you mean 'sha256'\?"),
        ({"files": [{"path": "a", "sha256": "12"}]}, "should match pattern"),
        ({"files": [{"path": "../a", "sha256": "unverified"}]}, "expected a relative path"),
        ({"folder": "/etc"}, "expected a relative path"),
        ({"folder": None}, "'folder' is required"),
        ({"files": []}, "'files' or 'layout' is required"),
        ({"files": [{"path": "a", "sha256": "unverified"}] * 2}, "lists a path twice"),
        ({"splits": {"train": ["c.png"]}}, r"split 'train': no item is called 'c\.png'"),
        ({"splits": {"a": ["*.png"], "b": ["a.png"]}}, "is in the splits 'a' and 'b'"),
        ({"exclude": ["c.png"]}, r"'exclude' names \['c\.png'\], which"),
        ({"access": "package"}, "'package' and 'inside' belong to"),
        ({"licence": {"url": "https://example.org"}}, "needs 'spdx' or 'text'"),
        ({"version": 1.0}, "valid string, got 1.0"),
    ],
)
def test_wrong_cards_are_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        card_of(**changes)


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://example.org/a", True),
        ("http://127.0.0.1:8000/a", True),
        ("http://[::1]/a", True),
        ("http://localhost/a", True),
        ("http://example.org/a", False),
        ("http://127.0.0.1.example.org/a", False),
        ("http://localhost@example.org/a", False),
        ("ftp://127.0.0.1/a", False),
        ("file:///etc/passwd", False),
    ],
)
def test_only_https_and_loopback_addresses_are_allowed(url: str, is_allowed: bool) -> None:
    listed = [{"path": "a", "sha256": "unverified", "url": url}]
    if is_allowed:
        assert card_of(files=listed, splits={}).files[0].url == url
    else:
        with pytest.raises(ConfigError, match="expected an https address"):
            card_of(files=listed, splits={})


def test_card_file_must_carry_the_name_of_the_card(tmp_path: Path) -> None:
    write(tmp_path / "other.yaml", yaml.safe_dump(section()).encode())
    with pytest.raises(ConfigError, match=r"other\.yaml\.name: expected 'other', got 'toy'"):
        read_card(tmp_path / "other.yaml")


@pytest.mark.parametrize("content", [b"a: [", b"\xff", b"!!python/object/apply:os.getcwd []"])
def test_card_that_is_no_plain_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "toy.yaml", content)
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_card(tmp_path / "toy.yaml")


PATHS = st.lists(st.text("abÄ -.1", min_size=1, max_size=5), min_size=1, max_size=3).map("/".join)
PATHS = PATHS.filter(lambda path: ".." not in path.split("/") and set(path) - {".", "/"})
FILES = st.lists(
    st.fixed_dictionaries(
        {
            "path": PATHS,
            "sha256": st.just("unverified") | st.binary(max_size=3).map(sha256),
            "bytes": st.none() | st.integers(0, 2**50),
            "url": st.none() | st.just("https://example.org/ä b"),
            "attribution": st.text(max_size=9),
            "licence": st.none() | st.just({"text": "ask"}),
        }
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda file: file["path"],
)
CARDS = st.builds(
    lambda listed, texts, problems: card_of(
        files=listed,
        splits={"test": [listed[0]["path"]]},
        title=texts[0],
        citation=texts[1],
        preprocessing=texts[2],
        known_problems=problems,
    ),
    FILES,
    st.tuples(st.text(), st.text(), st.text()),
    st.lists(st.text(), max_size=3),
)


@settings(deadline=None)
@given(CARDS)
def test_cards_survive_writing_and_reading(card: DataCard) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "toy.yaml"
        path.write_text(yaml.safe_dump(card.model_dump(mode="json")), encoding="utf-8")
        assert read_card(path) == card


def test_cards_are_read_as_utf_8(tmp_path: Path) -> None:
    write(tmp_path / "toy.yaml", yaml.safe_dump(section(), allow_unicode=True).encode())
    assert read_card(tmp_path / "toy.yaml").folder == "sr/Töy set"


# --- Croissant ---------------------------------------------------------------------------------


@settings(deadline=None)
@given(CARDS)
def test_croissant_says_what_the_card_says_and_no_more(card: DataCard) -> None:
    croissant = json.loads(json.dumps(to_croissant(card)))
    objects = {item["name"]: item for item in croissant["distribution"]}
    assert croissant["conformsTo"][0] == "http://mlcommons.org/croissant/1.1"
    assert len({item["@id"] for item in objects.values()}) == len(card.files) == len(objects)
    for file in card.files:
        item = objects[file.path]
        assert item.get("sha256") == (None if file.sha256 == "unverified" else file.sha256)
        assert item.get("contentSize") == (None if file.bytes is None else f"{file.bytes} B")
        assert item["contentUrl"] and " " not in item["@id"]


@pytest.mark.parametrize("name", list_cards())
def test_croissant_of_every_card_has_the_required_properties(name: str) -> None:
    card = load_card(name)
    croissant = to_croissant(card)
    required = {"@context", "@type", "name", "description", "license", "creator", "distribution"}
    assert required <= set(croissant)
    splits, *items = croissant["recordSet"]  # no items where a layout stands for them
    assert [row["splits/name"] for row in splits["data"]] == list(card.splits)
    listed = [] if card.layout else card.item_names()
    assert sum(len(records["data"]) for records in items) == len(listed)


def test_croissant_of_a_layout_is_a_file_set_in_its_archives() -> None:
    archive = {"path": "a.zip", "sha256": "unverified", "archive": {"into": "images"}}
    card = card_of(files=[archive], layout={"pattern": "images/*.png"}, exclude=["images/x.png"])
    _, file_set = to_croissant(card)["distribution"]
    assert file_set["@type"] == "cr:FileSet"
    assert file_set["containedIn"] == [{"@id": "a.zip"}]
    assert (file_set["includes"], file_set["excludes"]) == ("images/*.png", ["images/x.png"])


# --- find and check ----------------------------------------------------------------------------


def test_items_are_found_and_verified_in_a_folder_with_spaces_and_umlauts(data_root: Path) -> None:
    found = find(card_of(), data_root)
    assert list(found.files) == ["a.png", "sub/b ü.png"]
    assert found.split("test") == {"sub/b ü.png": data_root / "sr/Töy set/sub/b ü.png"}
    assert found.digests()["a.png"] == Digest(sha256(b"a"), verified=True)


def test_unknown_split_suggests_the_nearest(data_root: Path) -> None:
    with pytest.raises(ConfigError, match=r"no split 'tain'; did you mean 'train'\?"):
        find(card_of(), data_root).split("tain")


def test_missing_data_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError) as caught:
        find(card_of(), tmp_path)
    message = str(caught.value)
    for part in ("toy", "2 of 2 files", str(tmp_path / "sr/Töy set"), "ask somebody", "CC0-1.0"):
        assert part in message
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("nothing", [None, ""])
def test_missing_data_root_is_explained(nothing: str | None) -> None:
    for function in (find, check, fetch):
        with pytest.raises(DataMissingError, match="no data_root is set"):
            function(card_of(), nothing)


def test_missing_package_is_explained() -> None:
    listed = [{"path": "a", "sha256": "unverified", "package": "nopackage", "inside": "a"}]
    card = card_of(access="package", folder=None, files=listed, splits={})
    with pytest.raises(DataMissingError, match="installed packages nopackage"):
        find(card)
    assert [status.status for status in check(card)] == ["missing"]


def test_changed_file_is_named_with_both_checksums(data_root: Path) -> None:
    write(data_root / "sr/Töy set/a.png", b"x")
    with pytest.raises(
        ChecksumError, match=f"expected sha256 {sha256(b'a')}, found {sha256(b'x')}"
    ):
        find(card_of(), data_root).digests()
    first, second = check(card_of(), data_root)
    assert (first.status, first.expected, first.found) == ("changed", sha256(b"a"), sha256(b"x"))
    assert second.status == "ok"


def test_check_names_what_is_missing(data_root: Path) -> None:
    (data_root / "sr/Töy set/a.png").unlink()
    assert [status.status for status in check(card_of(), data_root)] == ["missing", "ok"]


def test_files_without_checksum_are_unverified(data_root: Path) -> None:
    card = card_of(files=[{"path": "a.png", "sha256": "unverified"}], splits={})
    assert find(card, data_root).digests() == {"a.png": Digest(sha256(b"a"), False)}
    assert [status.status for status in check(card, data_root)] == ["unverified"]


def test_excluded_file_is_not_handed_out_and_may_be_absent(data_root: Path) -> None:
    card = card_of(exclude=["a.png"], splits={"test": ["*.png"]})
    assert list(find(card, data_root).split("test")) == ["sub/b ü.png"]
    assert len(check(card, data_root)) == 2
    (data_root / "sr/Töy set/a.png").unlink()
    assert list(find(card, data_root).files) == ["sub/b ü.png"]
    assert [status.status for status in check(card, data_root)] == ["ok"]


def test_layout_finds_what_matches_and_counts_it(data_root: Path) -> None:
    write(data_root / "sr/Töy set/sub/.hidden.png", b"h")
    changes: dict[str, Any] = {"files": [], "splits": {"all": ["*"]}}
    card = card_of(layout={"pattern": "**/*.png", "count": 2}, **changes)
    found = find(card, data_root)
    assert list(found.split("all")) == ["a.png", "sub/b ü.png"]
    assert not any(digest.verified for digest in found.digests().values())
    card = card_of(layout={"pattern": "**/*.png", "count": 3}, **changes)
    with pytest.raises(DataMissingError, match=r"expected 3 files like \*\*/\*\.png, got 2"):
        find(card, data_root)


def test_folder_without_card_gives_its_images_unverified(tmp_path: Path) -> None:
    for name in ("x.PNG", "b.bmp", "c.jpg", "d.jpeg", "e.tif", "f.webp", "h_HR.png", "é ü.png"):
        write(tmp_path / "sr/Neu 1" / name, name.encode())
    for name in ("notes.txt", "._x.png", "checksums.json", "sub/inner.png"):
        write(tmp_path / "sr/Neu 1" / name, b"")
    found = find_folder("sr/Neu 1", tmp_path)
    names = ["b.bmp", "c.jpg", "d.jpeg", "e.tif", "f.webp", "h_HR.png", "x.PNG", "é ü.png"]
    assert list(found.files) == names
    assert found.digests()["b.bmp"] == Digest(sha256(b"b.bmp"), verified=False)


def test_folder_without_images_is_explained(tmp_path: Path) -> None:
    write(tmp_path / "sr/New/sub/a.png", b"")
    with pytest.raises(DataMissingError, match="its subfolders sub are not searched"):
        find_folder("sr/New", tmp_path)
    with pytest.raises(DataMissingError, match=re.escape(str(tmp_path / "sr/Absent"))):
        find_folder("sr/Absent", tmp_path)
    with pytest.raises(ConfigError, match="expected a relative path"):
        find_folder("../secret", tmp_path)


def test_link_to_nothing_in_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "sr/New/a.png", b"a")
    (tmp_path / "sr/New/alias.png").symlink_to("a.png")
    assert list(find_folder("sr/New", tmp_path).files) == ["a.png", "alias.png"]
    (tmp_path / "sr/New/b.png").symlink_to("gone.png")
    with pytest.raises(FileError, match=r"b\.png: is a link to gone\.png, which does not exist"):
        find_folder("sr/New", tmp_path)


def test_file_name_that_is_not_utf_8_is_refused_in_printable_words(tmp_path: Path) -> None:
    write(tmp_path / "sr/New" / os.fsdecode(b"caf\xe9.png"), b"a")
    with pytest.raises(FileError, match=r"name b'caf\\xe9\.png' is not valid UTF-8") as caught:
        find_folder("sr/New", tmp_path)
    assert str(caught.value).encode()


def test_unreadable_file_is_a_clear_error(open_folder: Path) -> None:
    write(open_folder / "sr/Töy set/a.png", b"a")
    write(open_folder / "sr/Töy set/sub/b ü.png", b"b")
    (open_folder / "sr/Töy set/a.png").chmod(0)
    with without_privileges():
        for action in (
            lambda: find(card_of(), open_folder),
            lambda: check(card_of(), open_folder),
            lambda: find_folder("sr/Töy set", open_folder),
        ):
            with pytest.raises(FileError, match=r"a\.png: Permission denied; change its perm"):
                action()


def test_unreadable_folder_is_a_clear_error(open_folder: Path) -> None:
    write(open_folder / "sr/Töy set/a.png", b"a")
    (open_folder / "sr/Töy set").chmod(0)
    with without_privileges():
        for action in (
            lambda: find(card_of(), open_folder),
            lambda: find_folder("sr/Töy set", open_folder),
        ):
            with pytest.raises(FileError, match="Permission denied"):
                action()


# --- fetch -------------------------------------------------------------------------------------


class Server:
    """A loopback server: path -> content, with ranges and with faults on request."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cut_after: int | None = None  # bytes of the next answer, then the line goes dead
        self.knows_ranges = True
        self.ranges: list[str | None] = []  # the Range header of each request
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.ranges.append(request.headers["Range"])
        if request.path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[request.path])
            request.end_headers()
            return
        if request.path not in self.contents:
            request.send_error(404)
            return
        content, start = self.contents[request.path], 0
        if request.headers["Range"] and self.knows_ranges:
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                request.send_error(416)
                return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        end, self.cut_after = self.cut_after, None
        request.wfile.write(content[start : None if end is None else start + end])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    server = Server()
    thread = threading.Thread(target=server.server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


@pytest.fixture
def payload_card(server: Server) -> DataCard:
    """A card of one file that the server holds."""
    server.contents["/p"] = PAYLOAD
    return one_file(server, sha256=sha256(PAYLOAD), bytes=len(PAYLOAD))


def one_file(server: Server, **entry: Any) -> DataCard:
    listed = {"path": "p ü.bin", "url": f"{server.url}/p", **entry}
    return card_of(files=[listed], splits={}, folder="new/Ördner 1")


def test_fetch_downloads_verifies_and_then_needs_no_server(
    server: Server, payload_card: DataCard, tmp_path: Path
) -> None:
    for _ in range(2):
        (status,) = fetch(payload_card, tmp_path)
        assert status.status == "ok"
    assert listing(tmp_path) == ["new/Ördner 1/p ü.bin"]
    assert (tmp_path / "new/Ördner 1/p ü.bin").read_bytes() == PAYLOAD
    assert server.ranges == [None]


def test_interrupted_download_is_resumed_where_it_stopped(
    server: Server, payload_card: DataCard, tmp_path: Path
) -> None:
    server.cut_after = 200_000
    with pytest.raises(FileError, match=r"download failed .*; run again, what arrived is kept"):
        fetch(payload_card, tmp_path)
    part = tmp_path / "new/Ördner 1/p ü.bin.part"
    kept = part.stat().st_size
    assert 100_000 < kept <= 200_000
    assert listing(tmp_path) == ["new/Ördner 1/p ü.bin.part"]
    fetch(payload_card, tmp_path)
    assert server.ranges == [None, f"bytes={kept}-"]
    assert (tmp_path / "new/Ördner 1/p ü.bin").read_bytes() == PAYLOAD
    assert not part.exists()


def test_download_starts_anew_if_the_server_knows_no_ranges(
    server: Server, payload_card: DataCard, tmp_path: Path
) -> None:
    write(tmp_path / "new/Ördner 1/p ü.bin.part", PAYLOAD[:1000])
    server.knows_ranges = False
    fetch(payload_card, tmp_path)
    assert server.ranges == ["bytes=1000-"]
    assert (tmp_path / "new/Ördner 1/p ü.bin").read_bytes() == PAYLOAD


def test_complete_part_is_taken_without_a_request(
    server: Server, payload_card: DataCard, tmp_path: Path
) -> None:
    write(tmp_path / "new/Ördner 1/p ü.bin.part", PAYLOAD)
    assert fetch(payload_card, tmp_path)[0].status == "ok"
    assert server.ranges == []


def test_part_longer_than_the_file_is_thrown_away(
    server: Server, payload_card: DataCard, tmp_path: Path
) -> None:
    write(tmp_path / "new/Ördner 1/p ü.bin.part", PAYLOAD + b"x")
    assert fetch(payload_card, tmp_path)[0].status == "ok"
    assert server.ranges == [f"bytes={len(PAYLOAD) + 1}-", None]


def test_wrong_checksum_deletes_the_download_and_shows_both(
    server: Server, payload_card: DataCard, tmp_path: Path
) -> None:
    server.contents["/p"] = b"other"
    with pytest.raises(ChecksumError) as caught:
        fetch(payload_card, tmp_path)
    for part in (sha256(PAYLOAD), sha256(b"other"), "300000", "5 bytes", f"{server.url}/p"):
        assert part in str(caught.value)
    assert listing(tmp_path) == []


def test_part_of_another_file_is_noticed_and_deleted(
    server: Server, payload_card: DataCard, tmp_path: Path
) -> None:
    write(tmp_path / "new/Ördner 1/p ü.bin.part", b"wrong start")
    with pytest.raises(ChecksumError):
        fetch(payload_card, tmp_path)
    assert listing(tmp_path) == []
    assert fetch(payload_card, tmp_path)[0].status == "ok"


def test_file_that_is_there_and_differs_is_kept_and_named(
    server: Server, payload_card: DataCard, tmp_path: Path
) -> None:
    write(tmp_path / "new/Ördner 1/p ü.bin", b"mine")
    with pytest.raises(ChecksumError, match="remove them and get them again"):
        fetch(payload_card, tmp_path)
    assert (tmp_path / "new/Ördner 1/p ü.bin").read_bytes() == b"mine"


def test_absent_address_is_a_clear_error(
    server: Server, payload_card: DataCard, tmp_path: Path
) -> None:
    server.contents.clear()
    with pytest.raises(FileError, match=rf"{server.url}/p: download failed \(404"):
        fetch(payload_card, tmp_path)


@pytest.mark.parametrize("target", ["http://example.org/p", "ftp://127.0.0.1/p"])
def test_redirect_to_an_unsafe_address_is_not_followed(
    server: Server, payload_card: DataCard, tmp_path: Path, target: str
) -> None:
    server.redirects["/p"] = target
    with pytest.raises(FileError, match=f"redirected to {target}: expected an https address"):
        fetch(payload_card, tmp_path)


def test_redirect_on_loopback_is_followed(
    server: Server, payload_card: DataCard, tmp_path: Path
) -> None:
    server.redirects["/p"], server.contents["/q"] = "/q", PAYLOAD
    assert fetch(payload_card, tmp_path)[0].status == "ok"


def test_unknown_checksum_is_recorded_at_first_and_compared_ever_after(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.contents["/p"], card = b"data", one_file(server, sha256="unverified")
    (status,) = fetch(card, tmp_path)
    assert (status.status, status.found) == ("unverified", sha256(b"data"))
    assert "no checksum on the card; recorded ['p ü.bin']" in caplog.text
    folder = tmp_path / "new/Ördner 1"
    assert json.loads((folder / "checksums.json").read_text()) == {"p ü.bin": sha256(b"data")}
    assert find(card, tmp_path).digests()["p ü.bin"].verified is False
    write(folder / "p ü.bin", b"changed")
    assert check(card, tmp_path)[0].status == "changed"
    for action in (lambda: fetch(card, tmp_path), find(card, tmp_path).digests):
        with pytest.raises(ChecksumError, match=sha256(b"data")):
            action()


def test_interrupted_download_without_checksum_starts_anew(server: Server, tmp_path: Path) -> None:
    server.contents["/p"], card = PAYLOAD, one_file(server, sha256="unverified")
    write(tmp_path / "new/Ördner 1/p ü.bin.part", b"of unknown origin")
    fetch(card, tmp_path)
    assert server.ranges == [None]
    assert (tmp_path / "new/Ördner 1/p ü.bin").read_bytes() == PAYLOAD


def test_download_of_the_wrong_size_is_refused_without_checksum(
    server: Server, tmp_path: Path
) -> None:
    server.contents["/p"] = b"short"
    with pytest.raises(ChecksumError, match=r"\(6 bytes\), got .* \(5 bytes\)"):
        fetch(one_file(server, sha256="unverified", bytes=6), tmp_path)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("checksum", ["unverified", sha256(PAYLOAD)])
def test_second_fetch_at_once_is_refused_and_the_first_ends_whole(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checksum: str
) -> None:
    server.contents["/p"], card = PAYLOAD, one_file(server, sha256=checksum)
    answer, refusals = server.answer, []

    def answer_after_a_second_fetch(request: BaseHTTPRequestHandler) -> None:
        if not refusals:
            refusals.append("not refused")
            try:
                fetch(card, tmp_path)
            except FileError as error:
                refusals.append(str(error))
        answer(request)

    monkeypatch.setattr(server, "answer", answer_after_a_second_fetch)
    fetch(card, tmp_path)
    assert "another fetch of this file is running" in refusals[-1]
    assert server.ranges == [None]
    assert (tmp_path / "new/Ördner 1/p ü.bin").read_bytes() == PAYLOAD


@pytest.mark.parametrize("checksum", ["unverified", sha256(PAYLOAD)])
def test_part_under_lock_is_left_as_it_is(server: Server, tmp_path: Path, checksum: str) -> None:
    part = tmp_path / "new/Ördner 1/p ü.bin.part"
    write(part, b"half")
    with part.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(
            FileError, match=r"p ü\.bin\.part: another fetch of this file is running"
        ):
            fetch(one_file(server, sha256=checksum), tmp_path)
    assert part.read_bytes() == b"half"


@pytest.mark.parametrize("new_part", [False, True])
def test_file_that_another_fetch_finished_before_the_lock_is_not_touched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_part: bool
) -> None:
    server.contents["/p"], target = b"data", tmp_path / "new/Ördner 1/p ü.bin"
    part = target.with_name("p ü.bin.part")
    write(part, PAYLOAD)

    def finish_then_lock(*_: object) -> None:
        part.rename(target)
        if new_part:
            part.touch()

    monkeypatch.setattr(fcntl, "flock", finish_then_lock)
    with pytest.raises(FileError, match="another fetch of this file is running"):
        fetch(one_file(server, sha256="unverified"), tmp_path)
    assert target.read_bytes() == PAYLOAD


def test_damaged_record_of_checksums_is_a_clear_error(data_root: Path) -> None:
    write(data_root / "sr/Töy set/checksums.json", b"[1]")
    with pytest.raises(FileError, match=r"checksums\.json: expected file -> sha256"):
        find(card_of(), data_root)


@pytest.mark.parametrize("access", ["registration", "agreement", "open"])
def test_data_to_be_got_by_hand_is_explained(tmp_path: Path, access: str) -> None:
    with pytest.raises(DataMissingError, match=r"2 files cannot be fetched(.|\n)*ask somebody"):
        fetch(card_of(access=access), tmp_path)
    assert listing(tmp_path) == []


def test_data_got_by_hand_is_verified_by_fetch(data_root: Path) -> None:
    states = fetch(card_of(access="agreement"), data_root)
    assert [state.status for state in states] == ["ok", "ok"]
    assert listing(data_root) == ["sr/Töy set/a.png", "sr/Töy set/sub/b ü.png"]


def test_there_is_nothing_to_fetch_in_packages(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert len(fetch("wheel_photographs")) == 14
        generated = card_of(access="generated", files=[], folder=None, splits={})
        assert fetch(generated) == []
    assert "wheel_photographs: nothing to fetch" in caplog.text
    assert "toy: nothing to fetch" in caplog.text


def test_read_only_folder_is_a_clear_error_and_complete_data_in_it_are_fine(
    server: Server, payload_card: DataCard, open_folder: Path
) -> None:
    folder = open_folder / "new/Ördner 1"
    folder.mkdir(parents=True)
    folder.chmod(0o555)
    denied = r"p ü\.bin\.part: Permission denied; change its permissions"
    with without_privileges(), pytest.raises(FileError, match=denied):
        fetch(payload_card, open_folder)
    write(folder / "p ü.bin", PAYLOAD)
    folder.chmod(0o555)
    with without_privileges():
        assert fetch(payload_card, open_folder)[0].status == "ok"
        assert find(payload_card, open_folder).digests()["p ü.bin"].verified
    folder.chmod(0o755)


def zip_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("good.png", b"good")
        archive.writestr(name, b"data")
    return buffer.getvalue()


def tar_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in ("good.png", name):
            info = tarfile.TarInfo(member)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"data"))
    return buffer.getvalue()


def archive_card(server: Server, content: bytes, **limits: Any) -> DataCard:
    server.contents["/x"] = content
    listed = {
        "path": "x.archive",
        "url": f"{server.url}/x",
        "sha256": sha256(content),
        "archive": {"into": "images", **limits},
    }
    return card_of(files=[listed], layout={"pattern": "images/**/*.png"}, splits={})


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_archives_are_extracted_once_and_their_files_are_the_items(
    server: Server, tmp_path: Path, make: Callable[[str], bytes]
) -> None:
    card = archive_card(server, make("sub/ü.png"))
    for _ in range(2):
        states = [(state.name, state.status) for state in fetch(card, tmp_path)]
        assert states[0] == ("x.archive", "ok")
        assert {name for name, _ in states[1:]} == {"images/good.png", "images/sub/ü.png"}
    assert list(find(card, tmp_path).files) == ["images/good.png", "images/sub/ü.png"]
    assert len(server.ranges) == 1


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_archive_with_a_member_outside_leaves_nothing_but_itself(
    server: Server, tmp_path: Path, make: Callable[[str], bytes]
) -> None:
    card = archive_card(server, make("../evil.png"))
    with pytest.raises(FileError, match=r"unsafe member '\.\./evil\.png'"):
        fetch(card, tmp_path)
    assert listing(tmp_path) == ["sr/Töy set/x.archive"]


def test_limits_of_the_card_hold_for_its_archive(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="more than 1 members"):
        fetch(archive_card(server, zip_of("b.png"), max_files=1), tmp_path)
