// What a viewer page needs besides its picture: theme, a camera on a turntable, pointer, touch and keys. The page defines
// config.camera, gl, start(), MODES, show(k), draw() and keys (more of its own), and calls redraw() after a change.
const $ = q => document.querySelector(q), canvas = $('canvas'), axes = $('svg'), hint = $('#hint'), said = $('#said');
const config = JSON.parse($('#config').textContent), keys = {};
const on = canvas.addEventListener.bind(canvas), alone = window.parent === window, RAD = Math.PI / 180;
document.body.classList.toggle('alone', alone);

// ---- theme: a message, else the page around the frame, else the system ------------------------------------------
let asked = null;
function setTheme() {
  let theme = asked;
  if (!theme && !alone) try {
    const host = window.parent.document, jupyter = host.body && host.body.dataset.jpThemeLight;
    theme = host.documentElement.dataset.theme || (jupyter && (jupyter === 'true' ? 'light' : 'dark'));
  } catch (error) { /* a page of another origin: only messages can reach us */ }
  if (theme !== 'dark' && theme !== 'light') theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  document.documentElement.dataset.theme = theme;
}
setTheme();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', setTheme);
addEventListener('message', event => {
  const theme = event.data && event.data.theme;
  if (theme === 'dark' || theme === 'light' || theme === 'auto') { asked = theme === 'auto' ? null : theme; setTheme(); }
});
if (!alone) try {
  const watch = new MutationObserver(setTheme), options = {attributes: true, attributeFilter: ['data-theme', 'data-jp-theme-light']};
  for (const node of [window.parent.document.documentElement, window.parent.document.body]) watch.observe(node, options);
} catch (error) { /* as above */ }

// ---- camera: world to camera, OpenCV axes (x right, y down, z forward) ------------------------------------------
const home = config.camera;
let {azimuth, elevation, radius} = home, center = [0, 0, 0];
function camera() {
  const [ca, sa, ce, se] = [Math.cos(azimuth * RAD), Math.sin(azimuth * RAD), Math.cos(elevation * RAD), Math.sin(elevation * RAD)];
  const forward = [-ce * ca, -ce * sa, -se];
  return {right: [-sa, ca, 0], down: [se * ca, se * sa, -ce], forward, eye: center.map((c, k) => c - radius * forward[k])};
}
const focalLength = short => 0.5 * short / Math.tan(0.5 * config.fov * RAD);  // in pixels, of a canvas with this shorter side
function drawAxes({right, down}) {
  axes.innerHTML = ['x', 'y', 'z'].map((name, k) => {
    const x = right[k] * 18, y = down[k] * 18, ink = ['#d55e00', '#009e73', '#3a8fd0'][k];
    return `<line x2="${x}" y2="${y}" stroke="${ink}"/><text x="${x * 1.42}" y="${y * 1.42}">${name}</text>`;
  }).join('');
}
let wanted = 0;
function redraw() {
  if (!wanted) wanted = requestAnimationFrame(() => { wanted = 0; draw(); });
}

// ---- graphics: what every picture goes through --------------------------------------------------------------------
function program(vertex, fragment) {
  const made = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source); gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  return {made, at: name => gl.getUniformLocation(made, name)};
}
function fitted() {  // the canvas in device pixels, or null where nothing can be drawn
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (!gl || gl.isContextLost() || !width || !height) return null;
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  return {width, height, ratio};
}
function tellFirst({width, height}) {  // the canvas is transparent, so a pixel differs from the background where alpha > 0
  if (window.lrmzeroDrawn) return;
  const read = new Uint8Array(width * height * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, read);
  let pixels = 0;
  for (let i = 3; i < read.length; i += 4) pixels += read[i] > 0;
  document.body.classList.add('drawn');
  window.lrmzeroDrawn = {pixels, milliseconds: performance.now()};
}
on('webglcontextlost', event => event.preventDefault());
on('webglcontextrestored', () => { start(); redraw(); });

// ---- control ----------------------------------------------------------------------------------------------------
function button(parent, name, title, action) {
  const made = document.createElement('button');
  made.textContent = name; made.title = title;
  made.addEventListener('click', action);
  return $(parent).appendChild(made);
}
function used() { document.body.classList.add('used'); redraw(); }
function turn(side, up) {
  azimuth = (azimuth + side) % 360;
  elevation = Math.max(-89, Math.min(89, elevation + up));
  used();
}
function zoom(factor) { radius = Math.max(0.2 * home.radius, Math.min(4 * home.radius, radius * factor)); used(); }
function move(dx, dy) {  // the scene follows by so many CSS pixels
  const {right, down} = camera(), step = radius / focalLength(Math.min(canvas.clientWidth, canvas.clientHeight));
  center = center.map((c, k) => Math.max(-home.radius, Math.min(home.radius, c - step * (dx * right[k] + dy * down[k]))));
  used();
}
function reset() { ({azimuth, elevation, radius} = home); center = [0, 0, 0]; redraw(); }
const fingers = new Map();
const gap = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y) || 1; };
on('pointerdown', event => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
});
on('pointermove', event => {
  const last = fingers.get(event.pointerId);
  if (!last) return;
  const before = fingers.size === 2 && gap(), dx = event.clientX - last.x, dy = event.clientY - last.y;
  fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
  if (before) { zoom(before / gap()); move(dx / 2, dy / 2); }
  else if (fingers.size === 1) (event.shiftKey || event.buttons & 6) ? move(dx, dy) : turn(-dx * 0.45, dy * 0.45);
});
for (const name of ['pointerup', 'pointercancel']) on(name, event => fingers.delete(event.pointerId));
on('contextmenu', event => event.preventDefault());
on('dblclick', reset);
on('wheel', event => {  // inside a page the wheel scrolls the page until the viewer was clicked
  if (!alone && !event.ctrlKey && document.activeElement !== canvas) return;
  event.preventDefault();
  zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY * (event.deltaMode ? 20 : 1))) * (event.ctrlKey ? 0.01 : 0.0025)));
}, {passive: false});
addEventListener('keydown', event => {
  const go = (x, y) => event.shiftKey ? move(-20 * x, 20 * y) : turn(8 * x, 8 * y);
  const action = {ArrowLeft: () => go(-1, 0), ArrowRight: () => go(1, 0), ArrowUp: () => go(0, 1), ArrowDown: () => go(0, -1),
    '+': () => zoom(0.9), '=': () => zoom(0.9), '-': () => zoom(1 / 0.9), Home: reset, 0: reset, r: reset}[event.key]
    || keys[event.key] || MODES[event.key - 1] && (() => show(event.key - 1));
  if (action && !event.altKey && !event.ctrlKey && !event.metaKey) { action(); event.preventDefault(); }
});
