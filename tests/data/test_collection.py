"""What a downloaded collection is: the draw, the lists, the record, and what it finds wrong."""

import hashlib
import json

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.data.collection import Entry, Wish, check_name, collect, draw, read_collection, read_names, verify_collection
from lrmzero_lite.download import HostUnreachable

NAMES = [f"B{number:09d}" for number in range(40)]


def test_the_draw_is_the_same_everywhere():
    """`printf '7:B000000000' | sha256sum` and so on, sorted: by coreutils."""
    assert draw(NAMES, 4, 7) == ["B000000003", "B000000017", "B000000024", "B000000035"]
    thousand = draw((f"B{number:09d}" for number in range(7953)), 1000, 0)
    assert thousand[:3] == ["B000000022", "B000000040", "B000000044"]
    assert hashlib.sha256("\n".join(thousand).encode()).hexdigest().startswith("c790cdf7b6bad1df")


def test_fewer_are_part_of_more_and_newcomers_displace_few():
    assert set(draw(NAMES, 10, 3)) < set(draw(reversed(NAMES), 20, 3))
    grown = draw([*NAMES, "X1", "X2"], 20, 3)
    assert len(set(draw(NAMES, 20, 3)) - set(grown)) == len({"X1", "X2"} & set(grown))
    assert draw(NAMES, 20, 3) != draw(NAMES, 20, 4)


def test_the_draw_is_uniform():
    """Each of 40 names is drawn in a quarter of 400 draws of 10: binomial, all within 4 standard deviations."""
    counts = dict.fromkeys(NAMES, 0)
    for seed in range(400):
        for name in draw(NAMES, 10, seed):
            counts[name] += 1
    assert all(abs(count - 100) < 4 * (400 * 0.25 * 0.75) ** 0.5 for count in counts.values())


def write(dest, name, data):
    """A `fetch` that writes one file of its own."""
    (dest / f"{name}.bin").write_bytes(data)
    return Entry(f"http://host/{name}", None, "CC0", {f"{name}.bin": hashlib.sha256(data).hexdigest()})


def run(dest, wish, *, kind="toys", fetch=None, available=lambda: NAMES[:5]):
    fetch = fetch or (lambda name: write(dest, name, name.encode()))
    return collect(dest, kind, wish, available, fetch, usual=3, progress=False)


def test_the_record_says_what_was_asked_and_what_came(tmp_path):
    assert run(tmp_path, Wish()) == draw(NAMES[:5], 3, 0)
    record = json.loads((tmp_path / "collection.json").read_text())
    assert record["asked"] == {"count": None, "seed": 0, "names": None} and "not published" in record["note"]
    assert read_collection(tmp_path)[record["names"][0]].licence == "CC0" and verify_collection(tmp_path) == []
    assert run(tmp_path / "all", Wish(), available=lambda: NAMES[:2]) == NAMES[:2]  # fewer than usual: all of them
    with pytest.raises(InputError, match="holds the collection 'toys', not 'gso'"):
        run(tmp_path, Wish(), kind="gso")


def test_verify_names_each_problem(tmp_path):
    names = run(tmp_path, Wish(names=tuple(NAMES[:3])))
    (tmp_path / f"{names[0]}.bin").unlink()
    (tmp_path / f"{names[1]}.bin").write_bytes(b"B00000000?")
    record = json.loads((tmp_path / "collection.json").read_text())
    del record["objects"][names[2]]
    (tmp_path / "collection.json").write_text(json.dumps(record))
    assert verify_collection(tmp_path) == [
        f"{names[2]} was never downloaded.",
        f"{names[0]}: {names[0]}.bin is missing.",
        f"{names[1]}: {names[1]}.bin has another SHA-256 than when it was downloaded.",
    ]
    run(tmp_path, Wish(names=tuple(NAMES[:3])))
    assert verify_collection(tmp_path) == [f"{names[1]}: {names[1]}.bin has another SHA-256 than when it was downloaded."]
    for text in ("[]", "{}", '{"collection": "toys"}', '{"collection": "toys", "names": [], "objects": {"a": 3}}'):
        (tmp_path / "collection.json").write_text(text)
        for read in (read_collection, verify_collection, lambda folder: run(folder, Wish())):
            with pytest.raises(InputError, match="not the record of a download"):
                read(tmp_path)


def test_failures_are_counted_only_in_a_row(tmp_path):
    tried = []

    def every_other(name):
        tried.append(name)
        if len(tried) % 2:
            raise HostUnreachable("it rains.")
        return write(tmp_path, name, b"x")

    with pytest.raises(InputError, match=f"3 of 5 objects could not be had, the first being '{NAMES[0]}': it rains. The others"):
        run(tmp_path, Wish(count=5), fetch=every_other)
    assert tried == NAMES[:5] and sorted(read_collection(tmp_path)) == [NAMES[1], NAMES[3]]
    run(tmp_path, Wish(count=5))
    assert verify_collection(tmp_path) == []


def test_names_from_files(tmp_path):
    (tmp_path / "a.txt").write_text("# mine\nb\n\n a  # the first\n")
    assert read_names(tmp_path / "a.txt") == ("b", "a")
    run(tmp_path, Wish(count=2))
    assert list(read_names(tmp_path / "collection.json")) == draw(NAMES[:5], 2, 0)
    (tmp_path / "e.txt").write_text("# nothing\n")
    (tmp_path / "e.json").write_text("{}")
    for name, words in (("e.txt", "names no object"), ("e.json", "no list 'names'"), ("none.txt", "cannot be read")):
        with pytest.raises(InputError, match=words):
            read_names(tmp_path / name)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/x", ".hidden", "a\\b", "a\0"])
def test_names_that_would_leave_the_folder(name):
    with pytest.raises(InputError, match="cannot be used as a file name"):
        check_name(name)


def test_wishes_that_make_no_sense():
    for arguments, words in (
        ({"count": 0}, "count = 0"),
        ({"count": 1, "names": ("a",)}, "give one of them"),
        ({"names": ()}, "is empty"),
    ):
        with pytest.raises(InputError, match=words):
            Wish(**arguments)
