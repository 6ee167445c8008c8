// The lab's page: choose an object, choose its views, reconstruct, look. Nothing heavy is fetched before the reader asks.
// The network is in network.js (window.LRMZeroNetwork), pictures in truth.js and splats.js.
'use strict';
window.LRMZeroLab = window.LRMZeroLab || {};
LRMZeroLab.samples = {};

(() => {
  const root = document.getElementById('lab'), $ = name => root.querySelector(`[data-lab=${name}]`);
  const here = new URL('.', document.currentScript.src).href, {cameras, photos, files, stage} = LRMZeroLab;
  const SIZE = 128, SAMPLES_PER_PIXEL = 3, MOST_VIEWS = 8;
  const RING = [16, 18, 20, 22, 24, 26, 28, 30], GIVEN = [0, 2, 4, 6];  // of the 64 GSO cameras: elevation 20; azimuth 0, 90, 180, 270
  const TESTS = [2, 10, 17, 21, 25, 29, 38, 46, 48, 56];  // some at each elevation, none of the ring

  let subject = null, result = null, busy = false, warned = false;

  // ---- words: one line for what happens, read aloud; numbers beside it are not
  function say(text, bad = false) {
    warned = false;
    $('said').textContent = text;
    $('said').classList.toggle('bad', bad);
  }
  function progress({what, done, total}) {
    what = what[0].toUpperCase() + what.slice(1);
    const known = total > 0, mega = bytes => (bytes / 1e6).toFixed(1);
    if ($('said').textContent !== what) say(what);
    $('bar').hidden = false;
    if (known) { $('bar').max = total; $('bar').value = done; } else $('bar').removeAttribute('value');
    $('bytes').textContent = known ? `${mega(done)} of ${mega(total)} MB` : '';
  }
  function work(on) {
    busy = on;
    root.dataset.state = on ? 'busy' : result ? 'done' : subject ? 'ready' : 'start';
    root.setAttribute('aria-busy', on);
    for (const control of root.querySelectorAll('button')) control.setAttribute('aria-disabled', on);  // `disabled` would lose the focus
    if (!on) { $('bar').hidden = true; $('bytes').textContent = ''; }
  }
  async function task(run) {  // one at a time; what goes wrong is told in one sentence
    if (busy) return;
    work(true);
    try { await run(); } catch (error) { say(error.message, true); }
    work(false);
    refresh();
  }
  const breath = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));

  // ---- scripts on demand (a page from disk may not fetch, but it may add script tags)
  const scripts = new Map();
  function script(path) {
    if (!scripts.has(path)) scripts.set(path, new Promise((done, failed) => {
      const tag = document.createElement('script');
      tag.src = new URL(path, here).href;
      tag.onload = done;
      tag.onerror = () => { scripts.delete(path); tag.remove(); failed(new Error(`${path.split('/').pop()} could not be loaded; try again.`)); };
      document.head.append(tag);
    }));
    return scripts.get(path);
  }

  // ---- what is to be reconstructed: {name, views: [{camera, rgba, label}], given: Set, truth(camera), tests(), dispose()}
  async function fromMesh(buffer, name) {
    progress({what: 'Loading the renderer'});
    await script('../vendor/three/three.js');
    const mesh = await LRMZeroLab.truth.open(buffer, name);
    const shot = index => { const camera = cameras.protocol(index, SIZE); return {camera, rgba: mesh.pixels(camera, SAMPLES_PER_PIXEL)}; };
    return {
      name, given: new Set(GIVEN), views: RING.map(index => ({...shot(index), label: `${index % 16 * 22.5}°`})),
      truth: camera => mesh.pixels(camera, camera.size > 256 ? 2 : SAMPLES_PER_PIXEL), tests: () => TESTS.map(shot),
      told: `${name}: ${mesh.triangles.toLocaleString('en')} triangles.`, dispose: mesh.dispose,
    };
  }
  async function fromPhotos(list) {
    progress({what: 'Reading the images'});
    const views = await photos.open(list), given = new Set(photos.spread(views, 4));
    await script('../vendor/three/three.js');  // its zip writer
    return {
      name: 'images', views, given, photos: true, dispose() {},
      truth: camera => (views.find(view => view.camera === camera) || {rgba: null}).rgba,
      tests: () => views.filter((_, i) => !given.has(i)),
      told: `${views.length} images with their cameras.`,
    };
  }

  async function take(made) {
    const next = await made;
    forget();
    if (subject) subject.dispose();
    subject = next;
    root.classList.add('chosen');
    $('next').hidden = !subject.photos;
    listViews();
    if (subject.photos) showPhoto(0); else pictures.reset();
    say(`${subject.told} Choose the views to give and press Reconstruct.`);
  }
  function forget() {
    if (result) result.scene.dispose();
    result = null;
    $('facts').replaceChildren();
  }

  async function takeSample(key) {
    progress({what: 'Loading the object'});
    await script(`samples/${key}.js`);
    const bytes = Uint8Array.from(atob(LRMZeroLab.samples[key]), c => c.charCodeAt(0));
    await take(fromMesh(bytes.buffer, key));
    mark(key);
  }
  async function takeFiles(list) {
    const glb = list.find(file => /\.glb$/i.test(file.name)), gltf = list.find(file => /\.(gltf|obj|fbx|stl|ply|usdz)$/i.test(file.name));
    if (!list.length) return;
    if (!glb && gltf) throw new Error(`${gltf.name} is not a GLB file; export the object as .glb (glTF 2.0, binary).`);
    await take(glb ? fromMesh(await glb.arrayBuffer(), glb.name) : fromPhotos(list));
    mark(null);
  }
  function mark(key) {
    for (const button of root.querySelectorAll('[data-sample]')) button.setAttribute('aria-pressed', button.dataset.sample === key);
  }

  // ---- views: a picture and a check box each
  function listViews() {
    $('views').replaceChildren(...subject.views.map((view, i) => {
      const label = document.createElement('label'), box = document.createElement('input'), canvas = document.createElement('canvas');
      const text = document.createElement('span');
      box.type = 'checkbox'; box.checked = subject.given.has(i);
      box.addEventListener('change', () => { subject.given[box.checked ? 'add' : 'delete'](i); refresh(); });
      canvas.setAttribute('aria-hidden', 'true');
      stage.show(canvas, stage.overWhite(view.rgba), SIZE);
      text.textContent = view.label;
      label.append(canvas, box, text);
      return label;
    }));
  }
  const chosen = () => subject.views.filter((_, i) => subject.given.has(i));

  // ---- reconstruct and measure
  async function reconstruct() {
    if (!subject) await takeSample(root.querySelector('[data-sample]').dataset.sample);
    const views = chosen(), held = subject.photos && subject.tests();  // now: the boxes may change while the network runs
    const pixels = SIZE * SIZE * 3, images = new Float32Array(views.length * pixels);
    views.forEach((view, v) => {
      const white = stage.overWhite(view.rgba);
      for (let i = 0; i < SIZE * SIZE; i++) for (let k = 0; k < 3; k++) images[v * pixels + 3 * i + k] = white[4 * i + k] / 255;
    });
    progress({what: 'Loading the network'});
    await script('network.js');
    await LRMZeroNetwork.load(progress);
    progress({what: `Running the network on ${views.length} ${views.length === 1 ? 'view' : 'views'}`});
    await breath();
    const gaussians = await LRMZeroNetwork.run({
      images, views: views.length, size: SIZE, viewmats: Float32Array.from(views.flatMap(view => view.camera.viewmat)),
      Ks: Float32Array.from(views.flatMap(view => cameras.K(view.camera))),
    });
    forget();
    progress({what: 'Comparing with the truth'});
    const scene = LRMZeroLab.splats.scene(gaussians);
    const tests = (held || subject.tests()).slice(0, TESTS.length);
    let sum = 0;
    try {
      for (const test of tests) {
        await breath();
        sum += stage.psnr(scene.pixels(test.camera), stage.overWhite(test.rgba));
      }
    } catch (error) { scene.dispose(); throw error; }  // no result, so that the page does not say "done"
    result = {gaussians, given: views, scene, psnr: tests.length ? sum / tests.length : null};
    report(tests.length);
    if (subject.photos && tests.length) showPhoto(subject.views.indexOf(tests[0]));
  }

  function fact(value, unit, text) {
    const group = document.createElement('div'), term = document.createElement('dt'), told = document.createElement('dd'), number = document.createElement('b');
    number.textContent = value;
    told.append(number, ` ${unit}`);
    term.textContent = text;
    group.append(term, told);
    return group;
  }
  function report(tests) {
    const {gaussians, psnr, given, scene} = result, seconds = gaussians.seconds.toFixed(gaussians.seconds < 10 ? 1 : 0);
    const where = subject.photos ? `PSNR over ${tests} held-out ${tests === 1 ? 'image' : 'images'}, 128 px` : `PSNR, mean of ${tests} test views at 128 px`;
    $('facts').replaceChildren(
      psnr === null ? fact('–', '', 'no truth: every image was given') : fact(psnr.toFixed(2), 'dB', where),
      fact(seconds, 's', 'in the network, on your processor'),
      fact(scene.count.toLocaleString('en'), '', `Gaussians that can be seen, of ${gaussians.opacities.length.toLocaleString('en')}`),
    );
    Object.assign(root.dataset, {psnr: psnr === null ? '' : psnr, seconds: gaussians.seconds, views: given.length});
    const verdict = psnr === null ? 'there is no truth to compare with' : `${psnr.toFixed(1)} dB from views that were not given`;
    say(`Done in ${seconds} seconds: ${verdict}. Turn the pictures to a side that no input saw.`);
  }

  // ---- the stage
  const pictures = stage.make($('stage'), () => ({
    truth: subject && subject.truth, splats: result && result.scene.pixels,
  }), camera => {
    const angle = subject && subject.given.size ? cameras.nearest(camera, chosen().map(view => view.camera)) : null;
    $('angle').textContent = angle === null ? '' : `${angle.toFixed(0)}° from the nearest given view`;
  }, error => say(error.message, true));
  let at = 0;
  function showPhoto(index) {
    at = index % subject.views.length;
    pictures.fix(subject.views[at].camera);
    $('next').textContent = `Next image (${at + 1} of ${subject.views.length}${subject.given.has(at) ? ', given' : ', held out'})`;
  }

  function refresh() {  // what may be pressed now
    const count = subject ? subject.given.size : GIVEN.length, stale = result && chosen().some(view => !result.given.includes(view));
    const fewer = result && result.given.length !== count;
    $('views-legend').textContent = `2 · Views given to the network (${count})`;
    $('run').disabled = count < 1 || count > MOST_VIEWS;
    $('run').textContent = stale || fewer ? 'Reconstruct again' : 'Reconstruct';
    const wrong = count < 1 ? 'Give at least one view.' : count > MOST_VIEWS ? `Give at most ${MOST_VIEWS} views; more take too long here.` : '';
    if (wrong || warned) say(wrong, Boolean(wrong));
    warned = Boolean(wrong);
    $('ply').disabled = !result;
    pictures.redraw(false);
  }

  // ---- what the reader does
  for (const button of root.querySelectorAll('[data-sample]')) {
    button.addEventListener('click', () => task(() => takeSample(button.dataset.sample)));
  }
  $('file').addEventListener('change', () => {
    const list = [...$('file').files];
    $('file').value = '';  // also when busy, so that the same file can be chosen again
    task(() => takeFiles(list));
  });
  $('run').addEventListener('click', () => task(reconstruct));
  $('next').addEventListener('click', () => showPhoto(at + 1));
  $('ply').addEventListener('click', () => files.download(files.ply(result.gaussians), `${stem()}_gaussians.ply`));
  $('zip').addEventListener('click', () => task(async () => files.download(await files.zip(chosen()), `${stem()}_views.zip`)));
  $('another').addEventListener('click', () => root.querySelector('[data-sample]').focus());
  const stem = () => subject.name.replace(/\.[^.]*$/, '');
  const over = on => event => { event.preventDefault(); root.classList.toggle('over', on); };
  root.addEventListener('dragenter', over(true));
  root.addEventListener('dragover', over(true));
  root.addEventListener('dragleave', event => { if (!root.contains(event.relatedTarget)) over(false)(event); });
  root.addEventListener('drop', event => {
    over(false)(event);
    const list = [...event.dataTransfer.files];
    task(() => takeFiles(list));
  });

  root.classList.add('live');
  work(false);
  refresh();
})();
