"""download(): against a local server that redirects, cuts connections, damages bytes and hides lengths."""

import hashlib
import multiprocessing
import shutil
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from lrmzero_lite import InputError, download
from lrmzero_lite.download import cache_folder, file_digest

from .data.http_host import HttpHost

DATA = np.random.default_rng(5).integers(0, 256, 3_000_000, np.uint8).tobytes()
MD5, SHA256 = hashlib.md5(DATA).hexdigest(), hashlib.sha256(DATA).hexdigest()


class Host:
    """Serves `data` at /file, and at /moved by a redirect; `trouble` is a list of what goes wrong with the next answers."""

    def __init__(self):
        self.data, self.trouble, self.ranges = DATA, [], []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                if self.path == "/moved":
                    self.answer(302, {"Location": "/file", "Content-Length": "0"})
                elif self.path == "/file":
                    self.content(host.trouble.pop(0) if host.trouble else "")
                else:
                    self.send_error(404)

            def answer(self, code, headers):
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def content(self, trouble):
                asked = self.headers.get("Range")
                host.ranges.append(asked)
                if trouble.isdigit():
                    return self.answer(int(trouble), {"Content-Length": "0"})
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and trouble != "no ranges" else 0
                if start and start >= len(host.data):
                    return self.answer(416, {"Content-Range": f"bytes */{len(host.data)}", "Content-Length": "0"})
                headers = {"Content-Range": f"bytes {start}-{len(host.data) - 1}/{len(host.data)}"} if start else {}
                if trouble != "no length":
                    headers["Content-Length"] = str(len(host.data) - start)
                self.answer(206 if start else 200, headers)
                if trouble == "cut":
                    self.wfile.write(host.data[start : start + (len(host.data) - start) // 2])
                elif trouble == "silent":
                    self.wfile.flush()
                elif trouble == "damaged":
                    self.wfile.write(host.data[start:-9] + bytes(9))
                else:
                    self.wfile.write(host.data[start:])

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/file"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    host = Host()
    yield host
    host.server.shutdown()
    host.server.server_close()


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize(
    ("checksum", "trouble"),
    [
        *((checksum, trouble) for checksum in (None, MD5) for trouble in ([], ["cut", "503", "cut"], ["cut", "no ranges"])),
        (SHA256, ["damaged"]),
    ],
)
def test_the_file_arrives_whole(host, tmp_path, checksum, size, trouble):
    host.trouble = list(trouble)
    path = download.download(host.url.replace("/file", "/moved"), tmp_path / "a" / "b.bin", size=size, checksum=checksum)
    assert path.read_bytes() == DATA and names(path.parent) == ["b.bin"]
    if trouble[0:1] == ["cut"]:
        assert host.ranges[1] == f"bytes={len(DATA) // 2}-"  # the redirect carries the range
    asked = len(host.ranges)
    download.download("http://127.0.0.1:9/gone", path, size=size, checksum=checksum)  # it is there: nothing is asked
    assert len(host.ranges) == asked


def test_the_next_call_goes_on_where_this_one_broke(host, tmp_path):
    host.trouble = ["cut", "404"]
    with pytest.raises(InputError, match="HTTP 404"):
        download.download(host.url, tmp_path / "b.bin", checksum=MD5)
    assert names(tmp_path) == ["b.bin.part"]
    assert download.download(host.url, tmp_path / "b.bin", checksum=MD5).read_bytes() == DATA
    assert host.ranges == [None, *[f"bytes={len(DATA) // 2}-"] * 2]


def test_what_arrives_before_a_reset_is_kept(tmp_path, monkeypatch):
    """A host that resets every connection after 100 kB, less than is read at once: twelve connections, no byte twice."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    host = HttpHost()
    host.files["/f"], host.trouble["/f"] = DATA[:1_150_000], ["reset"] * 11
    assert download.download(host.url + "/f", tmp_path / "f").read_bytes() == DATA[:1_150_000]
    assert host.sent == 1_150_000 and len(host.asked) == 12
    host.close()


def test_a_list_that_breaks_off_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    host = HttpHost()
    host.lists["/l"] = lambda query: (200, {"X-Page": "1"}, b"0123456789")
    host.trouble["/l"] = ["cut", "503", "cut"]
    data, headers = download.read_url(host.url + "/l")
    assert data == b"0123456789" and headers["X-Page"] == "1" and len(host.asked) == 4
    host.trouble["/l"] = ["cut"] * 9
    with pytest.raises(download.HostUnreachable, match=r"/l keeps breaking off .*5 more expected"):
        download.read_url(host.url + "/l", attempts=3)
    host.close()


def test_a_host_that_hides_the_length(host, tmp_path):
    host.trouble = ["no length"]
    assert download.download(host.url, tmp_path / "b.bin").read_bytes() == DATA


@pytest.mark.parametrize("left", [len(DATA), len(DATA) + 5])
@pytest.mark.parametrize("size", [None, len(DATA)])
def test_a_part_that_is_as_long_as_the_file_or_longer(host, tmp_path, left, size):
    """Of another version of the file, say: only a checksum can tell; without one, what is too long is fetched again."""
    (tmp_path / "b.bin.part").write_bytes(bytes(left))
    assert download.download(host.url, tmp_path / "b.bin", size=size, checksum=SHA256).read_bytes() == DATA


def test_another_checksum_twice_leaves_nothing(host, tmp_path):
    wrong = "0" * 32
    with pytest.raises(InputError, match="twice with another MD5 .*expected 000000000000"):
        download.download(host.url, tmp_path / "b.bin", checksum=wrong)
    assert len(host.ranges) == 2 and names(tmp_path) == []


@pytest.mark.parametrize(
    ("trouble", "size", "words"),
    [
        (["403"], None, "HTTP 403"),
        (["503"] * 9, None, "HTTP 503.*3 attempts"),
        (["silent"] * 9, None, f"stops at 0 of {len(DATA)} bytes"),
        ([], len(DATA) - 1, f"sends {len(DATA)} bytes, not {len(DATA) - 1}"),
        ([], len(DATA) + 1, "HTTP 416"),
    ],
)
def test_failures_are_one_sentence(host, tmp_path, trouble, size, words):
    host.trouble = trouble
    with pytest.raises(InputError, match=words) as error:
        download.download(host.url, tmp_path / "b.bin", size=size, attempts=3)
    assert "\n" not in str(error.value) and not (tmp_path / "b.bin").exists()


def test_no_host_and_no_folder(tmp_path, host):
    with pytest.raises(InputError, match="cannot be reached .*refused, 1 attempt"):
        download.download("http://127.0.0.1:9/b.bin", tmp_path / "b.bin", attempts=1)
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written .*another folder"):
        download.download(host.url, tmp_path / "file" / "b.bin")


def test_a_full_disk_is_named_as_soon_as_the_length_is_known(host, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1_000_000))
    for size, asked in ((len(DATA), 0), (None, 1)):
        with pytest.raises(InputError, match="0.0 GB free, b.bin needs 0.0 GB"):
            download.download(host.url, tmp_path / "b.bin", size=size)
        assert len(host.ranges) == asked and names(tmp_path) == []


def fetch_and_say(url, path, results):
    results.put(download.download(url, path, checksum=SHA256, rate=10).read_bytes() == DATA)


def test_processes_that_want_the_same_file_fetch_it_once(host, tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=fetch_and_say, args=(host.url, tmp_path / "b.bin", results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=20) for _ in workers] == [True] * 3
    for worker in workers:
        worker.join()
    assert host.ranges == [None] and names(tmp_path) == ["b.bin"]


def test_progress_names_the_file_and_its_size(host, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    download.download(host.url, tmp_path / "b.bin", progress=True)
    said = capsys.readouterr().err
    assert "b.bin" in said and "3.00M/3.00M" in said


def test_the_cache_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("LRMZERO_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LRMZERO_CACHE")
    assert cache_folder().name == "lrmzero_lite"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ('</list?page=2&q=a,b>; rel="next", </list?page=9>; rel="last"', "https://hub.org/list?page=2&q=a,b"),
        ('</list?page=1>; rel="prev", <https://other.org/3>; title="on"; rel=next', "https://other.org/3"),
        ('</list?page=1>; rel="first"', None),
        (None, None),
    ],
)
def test_the_next_page_of_a_list(link, expected):
    headers = Message()
    if link:
        headers["Link"] = link
    assert download.next_page(headers, "https://hub.org/list") == expected


def test_a_weak_tag_does_not_hold_a_download_to_a_version():
    """W/"..." promises the same meaning, not the same bytes (RFC 9110 §8.8.3); If-Range must not be sent with it."""
    headers = Message()
    headers["ETag"] = 'W/"1"'
    assert download._version(headers) == ""
    headers["Last-Modified"] = "Sat, 01 Nov 2025 00:00:00 GMT"
    assert download._version(headers) == "Sat, 01 Nov 2025 00:00:00 GMT"


def test_the_digest_is_the_one_asked_for(tmp_path):
    (tmp_path / "b.bin").write_bytes(DATA)
    assert file_digest(tmp_path / "b.bin", MD5) == MD5 and file_digest(tmp_path / "b.bin", SHA256) == SHA256
