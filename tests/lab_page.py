"""The lab's page as a reader has it: drop files, press buttons, read the pictures. For test_lab.py."""

import base64
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch

PATIENCE = 60_000  # milliseconds that a slow machine may take for one step


class Lab:
    """One page of the lab, what it asked for, and what it complained about."""

    def __init__(self, browser, address: str, **options) -> None:
        self.page = browser.new_context(accept_downloads=True, **options).new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.set_default_timeout(PATIENCE)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("console", lambda m: self.complaints.append(f"console: {m.text}") if m.type == "error" else None)
        self.address = address

    def open(self):
        self.page.goto(self.address, wait_until="load")
        return self

    def drop(self, *files: Path) -> None:
        """A drop event with these files, as the browser makes one."""
        held = [[file.name, base64.b64encode(file.read_bytes()).decode("ascii")] for file in files]
        transfer = self.page.evaluate_handle(
            """held => {
              const carried = new DataTransfer(), bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
              for (const [name, text] of held) carried.items.add(new File([bytes(text)], name));
              return carried;
            }""",
            held,
        )
        self.page.dispatch_event("#lab", "drop", {"dataTransfer": transfer})
        self.settle()

    def settle(self) -> None:
        """Wait until the page is idle and its pictures, which follow in the next frame, are drawn."""
        self.page.wait_for_function("document.getElementById('lab').dataset.state !== 'busy'")
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def part(self, name: str):
        return self.page.locator(f"[data-lab={name}]")

    def state(self) -> dict:
        return dict(self.page.evaluate("() => ({...document.getElementById('lab').dataset})"))

    def run(self) -> dict:
        """Press Reconstruct and wait for the numbers."""
        self.part("run").click()
        self.settle()
        found = self.state()
        assert found["state"] == "done", self.part("said").inner_text()
        return found

    def pane(self, name: str) -> np.ndarray:
        """RGBA pixels of a picture of the stage, [H, W, 4]."""
        return self.pixels(f"[data-pane={name}]", 1)[0]

    def pixels(self, selector: str, count: int) -> np.ndarray:
        """RGBA pixels of the first `count` canvases, [count, H, W, 4] uint8."""
        found = self.page.evaluate(
            """([selector, count]) => [...document.querySelectorAll(selector)].slice(0, count).map(canvas => {
              const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
              let text = '';
              for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
              return [canvas.height, btoa(text)];
            })""",
            [selector, count],
        )
        return np.stack([np.frombuffer(base64.b64decode(text), np.uint8).reshape(side, side, 4) for side, text in found])

    def drawn(self, act) -> None:
        """Do something that changes the pictures, and wait until they are drawn at their full size."""
        before = int(self.page.evaluate("document.querySelector('[data-lab=stage]').dataset.drawn"))
        act()
        self.page.wait_for_function("n => Number(document.querySelector('[data-lab=stage]').dataset.drawn) > n", arg=before)

    def close(self) -> None:
        """Nothing went wrong, and no other host was asked."""
        outside = [url for url in self.asked if (u := urlsplit(url)).scheme in ("http", "https") and u.hostname != "127.0.0.1"]
        self.page.context.close()
        assert not self.complaints and not outside


def as_colors(pixels: np.ndarray) -> torch.Tensor:
    """The colours of RGBA pixels [..., 4] uint8 as floats [..., 3] in [0, 1]."""
    return torch.from_numpy(pixels[..., :3].astype(np.float32) / 255)
