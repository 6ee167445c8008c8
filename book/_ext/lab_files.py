"""What the lab's network needs, as scripts that hold base64: a page opened from disk may load scripts, but may not fetch files.

Written into `_static/lab/files` of the finished site: the runtime (vendored), the graph (`lrmzero export`), and the very weights
that the package ships. `assets/lab/network.js` reads them.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PIECE = 1 << 20  # bytes of a file per script, cut to a multiple of three so that no piece ends in padding
PIECE -= PIECE % 3
RUNTIME = "assets/vendor/onnxruntime-web"
SOURCES = {  # file, from the book's folder, and what the page says while it loads
    f"{RUNTIME}/ort.wasm.min.js": "the runtime",
    f"{RUNTIME}/ort-wasm-simd-threaded.mjs": "the runtime",
    f"{RUNTIME}/ort-wasm-simd-threaded.wasm.gz": "the runtime",
    "assets/lab/lite-128.onnx": "the graph",
    "../lrmzero_lite/weights/lite-128.safetensors": "the weights",
}


def write_lab_files(app: Sphinx, error: Exception | None) -> None:
    """Write `list.js` and the pieces of every file."""
    if error is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_static" / "lab" / "files"
    folder.mkdir(parents=True, exist_ok=True)
    listed = {}
    for source, what in SOURCES.items():
        path = Path(app.srcdir, source)
        content = path.read_bytes()
        starts = range(0, len(content), PIECE)
        for index, start in enumerate(starts):
            text = base64.b64encode(content[start : start + PIECE]).decode("ascii")
            script = f'LRMZeroFiles.piece("{path.name}",{index},"{text}")\n'
            (folder / f"{path.name}.{index}.js").write_text(script, encoding="ascii")
        listed[path.name] = {"what": what, "bytes": len(content), "pieces": len(starts), "pieceBytes": PIECE}
    (folder / "list.js").write_text(f"LRMZeroFiles.list({json.dumps(listed)})\n", encoding="ascii")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", write_lab_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
