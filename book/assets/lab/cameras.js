// Cameras of the lab, as in lrmzero_lite/cameras.py: world Z-up, viewmat = world to camera with OpenCV axes (x right, y down,
// z forward), row by row in 16 numbers; K in pixels, pixel (row i, column j) has its centre at (j + 0.5, i + 0.5).
'use strict';
window.LRMZeroLab = window.LRMZeroLab || {};

LRMZeroLab.cameras = (() => {
  const RAD = Math.PI / 180, HFOV = 50, RADIUS = 2.7, ELEVATIONS = [0, 20, 40, 60];

  function lookAt(azimuth, elevation, radius, size) {  // degrees, from +X towards +Y
    const [ca, sa, ce, se] = [Math.cos(azimuth * RAD), Math.sin(azimuth * RAD), Math.cos(elevation * RAD), Math.sin(elevation * RAD)];
    const right = [-sa, ca, 0], down = [se * ca, se * sa, -ce], forward = [-ce * ca, -ce * sa, -se];
    const focal = 0.5 * size / Math.tan(0.5 * HFOV * RAD);
    return {viewmat: [...right, 0, ...down, 0, ...forward, radius, 0, 0, 0, 1], fx: focal, fy: focal, cx: size / 2, cy: size / 2, size};
  }

  // Camera `index` of the 64 of the GSO protocol: 16 azimuths at each of four elevations.
  const protocol = (index, size) => lookAt(index % 16 * 22.5, ELEVATIONS[index >> 4], RADIUS, size);

  function resized(camera, size) {
    const s = size / camera.size;
    return {viewmat: camera.viewmat, fx: camera.fx * s, fy: camera.fy * s, cx: camera.cx * s, cy: camera.cy * s, size};
  }

  const K = c => [c.fx, 0, c.cx, 0, c.fy, c.cy, 0, 0, 1];

  function eye({viewmat: m}) {
    return [0, 1, 2].map(k => -(m[k] * m[3] + m[4 + k] * m[7] + m[8 + k] * m[11]));
  }

  function angle(a, b) {  // degrees between two camera centres, seen from the origin
    const [p, q] = [eye(a), eye(b)], dot = p[0] * q[0] + p[1] * q[1] + p[2] * q[2];
    return Math.acos(Math.max(-1, Math.min(1, dot / (Math.hypot(...p) * Math.hypot(...q))))) / RAD;
  }

  const nearest = (camera, others) => Math.min(...others.map(other => angle(camera, other)));

  // opencv_cameras.json as an object. Throws an Error of one sentence if a camera cannot be used.
  function parse(data) {
    const frames = data && Array.isArray(data.frames) ? data.frames : data;
    if (!Array.isArray(frames) || !frames.length) throw new Error('opencv_cameras.json lists no frames; it needs one for each image.');
    return frames.map((frame, i) => {
      const numbers = ['w', 'h', 'fx', 'fy', 'cx', 'cy'].map(key => frame[key]), [w, h, fx, fy, cx, cy] = numbers;
      const viewmat = Array.isArray(frame.w2c) ? frame.w2c.flat() : [];
      if (viewmat.length !== 16 || typeof frame.file_path !== 'string' || ![...numbers, ...viewmat].every(Number.isFinite)) {
        throw new Error(`Frame ${i} of opencv_cameras.json is not complete; it needs w, h, fx, fy, cx, cy, a 4x4 w2c and file_path.`);
      }
      if (w !== h) throw new Error(`Frame ${i} of opencv_cameras.json is ${w}x${h} pixels; crop the images to squares first.`);
      if (!(fx > 0 && fy > 0)) throw new Error(`Camera ${i} has a focal length of ${Math.min(fx, fy)} pixels; it must be positive.`);
      if (!rigid(viewmat)) throw new Error(`Camera ${i} is not a rigid world-to-camera matrix; export the cameras as OpenCV w2c.`);
      const camera = {viewmat, fx, fy, cx, cy, size: w}, distance = Math.hypot(...eye(camera)), [x, y, z] = [3, 7, 11].map(k => viewmat[k]);
      if (distance < 1.2 || distance > 6) {
        throw new Error(`Camera ${i} is ${distance.toFixed(1)} units from the origin; the network knows objects of 1.8 units `
          + 'at the origin, seen from 2 to 3: centre and scale the cameras first (lrmzero photos does).');
      }
      if (!(z > 0 && Math.abs(fx * x / z + cx - w / 2) < w / 2 && Math.abs(fy * y / z + cy - h / 2) < h / 2)) {
        throw new Error(`Camera ${i} does not see the origin, where the object has to be; centre the cameras first (lrmzero photos does).`);
      }
      return {camera, file: frame.file_path};
    });
  }

  function rigid(m) {
    const row = k => m.slice(4 * k, 4 * k + 3), dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2], [r, d, f] = [row(0), row(1), row(2)];
    const off = [dot(r, r) - 1, dot(d, d) - 1, dot(f, f) - 1, dot(r, d), dot(r, f), dot(d, f)];
    const cross = [r[1] * d[2] - r[2] * d[1], r[2] * d[0] - r[0] * d[2], r[0] * d[1] - r[1] * d[0]];
    return off.every(x => Math.abs(x) < 1e-3) && dot(cross, f) > 0 && m.slice(12).every((x, k) => Math.abs(x - (k === 3)) < 1e-5);
  }

  // The same as JSON text, as Cameras.save writes it.
  function json(cameras, files) {
    return JSON.stringify({frames: cameras.map((c, i) => ({
      w: c.size, h: c.size, fx: c.fx, fy: c.fy, cx: c.cx, cy: c.cy,
      w2c: [0, 4, 8, 12].map(k => c.viewmat.slice(k, k + 4)), file_path: files[i],
    }))}, null, 1);
  }

  return {lookAt, protocol, resized, K, eye, nearest, parse, json, RADIUS};
})();
