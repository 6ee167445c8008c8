// Posed images of the reader: RGBA pictures and opencv_cameras.json, the folder that PosedViews.save writes.
'use strict';
window.LRMZeroLab = window.LRMZeroLab || {};

LRMZeroLab.photos = (() => {
  const SIZE = 128, MOST = 64;
  const base = path => path.split(/[\\/]/).pop();

  async function decode(file) {  // [h * w * 4] straight alpha, and its sides
    const address = URL.createObjectURL(file), picture = new Image();
    try {
      picture.src = address;
      await picture.decode();
    } catch (error) {
      throw new Error(`${file.name} is not a picture that this browser can decode; export it again as PNG.`);
    } finally {
      URL.revokeObjectURL(address);
    }
    const canvas = document.createElement('canvas'), width = canvas.width = picture.naturalWidth, height = canvas.height = picture.naturalHeight;
    const context = canvas.getContext('2d', {willReadFrequently: true});
    context.drawImage(picture, 0, 0);
    return {data: context.getImageData(0, 0, width, height).data, width, height};
  }

  function shares(from, to) {  // for each of `to` cells: the first of `from` cells under it, and how much of each it covers
    const step = from / to;
    return Array.from({length: to}, (_, i) => {
      const low = i * step, high = low + step, first = Math.floor(low), last = Math.min(from, Math.ceil(high - 1e-9));
      return {first, weights: Array.from({length: last - first}, (_, k) => (Math.min(first + k + 1, high) - Math.max(first + k, low)) / step)};
    });
  }

  // Area-averaged to SIZE x SIZE, colours weighted by alpha, as PosedViews.resized does.
  function reduced({data, width, height}) {
    if (width === SIZE && height === SIZE) return data;
    const out = new Uint8ClampedArray(SIZE * SIZE * 4), across = shares(width, SIZE), down = shares(height, SIZE);
    for (let i = 0; i < SIZE; i++) for (let j = 0; j < SIZE; j++) {
      let red = 0, green = 0, blue = 0, alpha = 0;
      down[i].weights.forEach((v, y) => across[j].weights.forEach((u, x) => {
        const at = 4 * ((down[i].first + y) * width + across[j].first + x), a = u * v * data[at + 3];
        red += a * data[at]; green += a * data[at + 1]; blue += a * data[at + 2]; alpha += a;
      }));
      out.set(alpha ? [red / alpha, green / alpha, blue / alpha, alpha] : [0, 0, 0, 0], 4 * (i * SIZE + j));
    }
    return out;
  }

  // Dropped files to frames {camera, rgba, label}, in the order of the camera file. Rejects with an Error of one sentence.
  async function open(files) {
    const json = files.find(file => base(file.name) === 'opencv_cameras.json') || files.find(file => /\.json$/i.test(file.name));
    if (!json) throw new Error('There is no opencv_cameras.json among these files; images need the cameras that took them.');
    let data;
    try {
      data = JSON.parse(await json.text());
    } catch (error) {
      throw new Error(`${json.name} is not JSON; write it again with Cameras.save.`);
    }
    const named = new Map(files.map(file => [base(file.name), file])), frames = [];
    const wanted = LRMZeroLab.cameras.parse(data);
    if (wanted.length > MOST) throw new Error(`${json.name} lists ${wanted.length} images; give at most ${MOST}.`);
    for (const {camera, file} of wanted) {
      const found = named.get(base(file));
      if (!found) throw new Error(`${json.name} names ${file}, which was not given; drop it together with the others.`);
      const picture = await decode(found);
      if (picture.width !== camera.size || picture.height !== camera.size) {
        throw new Error(`${file} is ${picture.width}x${picture.height} pixels but its camera says ${camera.size}x${camera.size}; resize one of them.`);
      }
      frames.push({camera: LRMZeroLab.cameras.resized(camera, SIZE), rgba: reduced(picture), label: base(file).replace(/(_rgba)?\.[^.]*$/, '')});
    }
    return frames;
  }

  // `count` of the frames that look from far apart: each next one is the farthest from those chosen.
  function spread(frames, count) {
    const chosen = [0], near = i => LRMZeroLab.cameras.nearest(frames[i].camera, chosen.map(k => frames[k].camera));
    while (chosen.length < Math.min(count, frames.length)) {
      const rest = frames.map((_, i) => i).filter(i => !chosen.includes(i));
      chosen.push(rest.reduce((best, i) => near(i) > near(best) ? i : best, rest[0]));
    }
    return chosen.sort((a, b) => a - b);
  }

  return {open, spread, SIZE};
})();
