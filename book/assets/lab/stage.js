// The three pictures that turn together: truth, reconstruction, and their difference. Every pixel comes as bytes from `truth`
// and `splats`, so what is seen is what is measured.
'use strict';
window.LRMZeroLab = window.LRMZeroLab || {};

LRMZeroLab.stage = (() => {
  const HOME = {azimuth: 35, elevation: 20, radius: 2.7}, SMALL = 160, LARGEST = 512, SLOW = 60, FULL = 0.4;
  // From no error to FULL of the range: white, orange, red, dark.
  const RAMP = [[255, 255, 255], [253, 190, 133], [227, 74, 51], [103, 0, 13]];
  const INK = Array.from({length: 256}, (_, i) => {
    const x = i / 255 * (RAMP.length - 1), k = Math.min(RAMP.length - 2, Math.floor(x));
    return RAMP[k].map((c, j) => c + (x - k) * (RAMP[k + 1][j] - c));
  });

  function overWhite(rgba) {
    const out = new Uint8ClampedArray(rgba.length);
    for (let i = 0; i < rgba.length; i += 4) {
      const a = rgba[i + 3] / 255;
      for (let k = 0; k < 3; k++) out[i + k] = rgba[i + k] * a + 255 * (1 - a);
      out[i + 3] = 255;
    }
    return out;
  }

  function difference(a, b) {  // mean over the channels, of opaque pictures
    const out = new Uint8ClampedArray(a.length);
    for (let i = 0; i < a.length; i += 4) {
      const error = (Math.abs(a[i] - b[i]) + Math.abs(a[i + 1] - b[i + 1]) + Math.abs(a[i + 2] - b[i + 2])) / 765;
      const ink = INK[Math.min(255, Math.round(255 * error / FULL))];
      out[i] = ink[0]; out[i + 1] = ink[1]; out[i + 2] = ink[2]; out[i + 3] = 255;
    }
    return out;
  }

  function psnr(a, b) {  // dB of two opaque pictures, at most 100
    let sum = 0;
    for (let i = 0; i < a.length; i++) if ((i & 3) !== 3) sum += (a[i] - b[i]) ** 2;
    return -10 * Math.log10(Math.max(1e-10, sum / (a.length * 0.75 * 65025)));
  }

  function show(canvas, pixels, size) {  // without pixels the canvas is clear, and the page's stripes show
    if (canvas.width !== size) canvas.width = canvas.height = size;
    const context = canvas.getContext('2d');
    if (pixels) context.putImageData(new ImageData(pixels, size, size), 0, 0); else context.clearRect(0, 0, size, size);
  }

  // element: the focusable frame around canvases `truth`, `splats`, `error`. source(): {truth(camera), splats(camera)}, each
  // RGBA pixels or null. told(camera): called after each picture at full size. failed(error): one of them could not be drawn.
  function make(element, source, told, failed) {
    const panes = {};
    for (const canvas of element.querySelectorAll('canvas')) panes[canvas.dataset.pane] = canvas;
    let view = {...HOME}, fixed = null, wanted = 0, settled = 0, milliseconds = 0;

    const camera = size => fixed || LRMZeroLab.cameras.lookAt(view.azimuth, view.elevation, view.radius, size);

    function draw(moving) {
      const pane = panes.truth.clientWidth || panes.splats.clientWidth;
      if (!pane) return;
      const sharp = fixed ? fixed.size : Math.max(SMALL, Math.min(LARGEST, Math.round(pane * Math.min(2, devicePixelRatio || 1))));
      const size = moving && milliseconds > SLOW && !fixed ? SMALL : sharp, begin = performance.now(), from = camera(size), {truth, splats} = source();
      let seen = null, made = null;
      try { seen = truth && truth(from); made = splats && splats(from); } catch (error) { failed(error); }
      const left = seen && overWhite(seen);
      show(panes.truth, left, size);
      show(panes.splats, made, size);
      show(panes.error, left && made && difference(left, made), size);
      if (size === sharp) { milliseconds = performance.now() - begin; element.dataset.drawn = 1 + Number(element.dataset.drawn || 0); told(from); }
      else { clearTimeout(settled); settled = setTimeout(() => draw(false), 150); }
    }
    function redraw(moving = true) {
      clearTimeout(settled);
      if (!wanted) wanted = requestAnimationFrame(() => { wanted = 0; draw(moving); });
    }

    // ---- control
    function turn(side, up) {
      if (fixed) {  // go on from where that picture was taken
        const [x, y, z] = LRMZeroLab.cameras.eye(fixed), radius = Math.hypot(x, y, z);
        view = {azimuth: Math.atan2(y, x) * 180 / Math.PI, elevation: Math.asin(z / radius) * 180 / Math.PI, radius};
        fixed = null;
      }
      view.azimuth = (view.azimuth + side + 360) % 360;
      view.elevation = Math.max(-89, Math.min(89, view.elevation + up));
      redraw();
    }
    function zoom(factor) { turn(0, 0); view.radius = Math.max(1.2, Math.min(6, view.radius * factor)); }
    function reset() { view = {...HOME}; fixed = null; redraw(); }
    function fix(from) { fixed = from; redraw(false); }

    const fingers = new Map(), gap = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y) || 1; };
    const grip = event => event.target.closest('canvas');
    element.addEventListener('pointerdown', event => {
      if (!grip(event)) return;
      event.target.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    });
    element.addEventListener('pointermove', event => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      const before = fingers.size === 2 && gap(), dx = event.clientX - last.x, dy = event.clientY - last.y;
      fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
      if (before) zoom(before / gap()); else if (fingers.size === 1) turn(-dx * 0.45, dy * 0.45);
    });
    for (const name of ['pointerup', 'pointercancel']) element.addEventListener(name, event => fingers.delete(event.pointerId));
    element.addEventListener('dblclick', event => { if (grip(event)) reset(); });
    element.addEventListener('wheel', event => {  // the wheel scrolls the page until the pictures were clicked
      if (!event.ctrlKey && document.activeElement !== element) return;
      event.preventDefault();
      zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY * (event.deltaMode ? 20 : 1))) * (event.ctrlKey ? 0.01 : 0.0025)));
    }, {passive: false});
    element.addEventListener('keydown', event => {
      if (event.target !== element || event.altKey || event.ctrlKey || event.metaKey) return;
      const action = {ArrowLeft: () => turn(-8, 0), ArrowRight: () => turn(8, 0), ArrowUp: () => turn(0, 8), ArrowDown: () => turn(0, -8),
        '+': () => zoom(0.9), '=': () => zoom(0.9), '-': () => zoom(1 / 0.9), r: reset}[event.key];
      if (action) { action(); event.preventDefault(); }
    });
    new ResizeObserver(() => redraw(false)).observe(element);

    return {redraw, reset, fix};
  }

  return {make, overWhite, psnr, show};
})();
