"""The network in the browser: the site's own files, opened from disk, compute what PyTorch does."""

import base64

import numpy as np
import pytest
import torch

from lrmzero_lite import gso_cameras, load
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.model.onnx_export import OUTPUTS, OneObject
from lrmzero_lite.render import render_mesh

START = """() => new Promise((done, fail) => {
  window.addresses = new Set();
  const {createObjectURL, revokeObjectURL} = URL;
  URL.createObjectURL = what => { const made = createObjectURL.call(URL, what); addresses.add(made); return made; };
  URL.revokeObjectURL = made => { addresses.delete(made); revokeObjectURL.call(URL, made); };
  const tag = document.createElement('script');
  Object.assign(tag, {src: '_static/lab/network.js', onload: done, onerror: fail});
  document.head.append(tag);
})"""
RUN = """async given => {
  const floats = text => new Float32Array(Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer);
  const [images, viewmats, Ks] = [given.images, given.viewmats, given.Ks].map(floats), steps = [];
  await LRMZeroNetwork.load(step => steps.push(step));
  const found = await LRMZeroNetwork.run({images, viewmats, Ks, views: given.views, size: given.size});
  const told = {steps, seconds: found.seconds};
  for (const name of given.outputs) {
    let text = '';
    for (const byte of new Uint8Array(found[name].buffer)) text += String.fromCharCode(byte);
    told[name] = btoa(text);
  }
  return told;
}"""


@pytest.fixture(scope="module")
def tab(site, chromium, tmp_path_factory):
    """A page of the built site, opened from disk, with network.js; console errors fail the test at its end."""
    from playwright.sync_api import sync_playwright

    errors, profile = [], str(tmp_path_factory.mktemp("profile"))
    flags = ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(profile, executable_path=chromium, args=flags, headless=True)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((site / "intro.html").as_uri())
        page.evaluate(START)
        yield page
        context.close()
    assert not errors


def asked(views) -> dict:
    encode = lambda x: base64.b64encode(np.ascontiguousarray(x.numpy(), dtype="<f4").tobytes()).decode()
    values = {"images": views.on_background(), "viewmats": views.cameras.viewmats, "Ks": views.cameras.Ks}
    given = {name: encode(value) for name, value in values.items()}
    return given | {"views": len(views.images), "size": views.cameras.width, "outputs": list(OUTPUTS)}


@pytest.mark.browser
@pytest.mark.parametrize("indices", [[16, 20, 24, 28], [0, 5, 10]])
def test_the_browser_computes_what_pytorch_does(tab, indices):
    """Four views of 128 pixels, the lab's case, and three others through the same session."""
    views = render_mesh(sample_object("mug"), gso_cameras(128)[indices])
    told = tab.evaluate(RUN, asked(views))
    with torch.no_grad():
        wanted = OneObject(load("lite-128"))(views.on_background(), views.cameras.viewmats, views.cameras.Ks)
    for name, values in zip(OUTPUTS, wanted, strict=True):
        found = np.frombuffer(base64.b64decode(told[name]), "<f4").reshape(values.shape)
        np.testing.assert_allclose(found, values.numpy(), atol=1e-3, rtol=0, err_msg=name)
    assert told["seconds"] > 0 and tab.evaluate("addresses.size") == 0, "an address of a blob was not given back"
    print(f"{len(indices)} views of 128 px in {told['seconds']:.2f} s")


@pytest.mark.browser
def test_wrong_sizes_are_named(tab):
    given = asked(render_mesh(sample_object("mug"), gso_cameras(128)[[16, 20]])) | {"views": 3}
    from playwright.sync_api import Error

    with pytest.raises(Error, match="images holds 98304 numbers; 3 views of 128 pixels need 147456"):
        tab.evaluate(RUN, given)


@pytest.mark.browser
def test_a_missing_file_is_named_and_can_be_tried_again(tab):
    """A failed load says which file is missing; after it the next attempt starts anew."""
    tab.reload()
    tab.evaluate(START)
    tab.evaluate("() => { window.kept = document.head.append; document.head.append = tag => tag.onerror(); }")
    message = tab.evaluate("() => LRMZeroNetwork.load().then(() => '', error => error.message)")
    assert message.startswith("The network could not be loaded: ") and "did not load; check the connection" in message
    tab.evaluate("() => { document.head.append = kept; }")
    assert tab.evaluate("() => LRMZeroNetwork.load().then(() => 'ready')") == "ready"
