// What a reader takes home: the Gaussians as a 3DGS .ply, and the input views as a .zip that PosedViews.load reads.
'use strict';
window.LRMZeroLab = window.LRMZeroLab || {};

LRMZeroLab.files = (() => {
  // The columns of lrmzero_lite/formats/ply.py: opacities as logits, scales as logarithms, unit quaternions w x y z, no normals.
  function ply({means, quats, scales, opacities, sh}) {
    const names = ['x', 'y', 'z', 'nx', 'ny', 'nz', 'f_dc_0', 'f_dc_1', 'f_dc_2', 'opacity', 'scale_0', 'scale_1', 'scale_2',
      'rot_0', 'rot_1', 'rot_2', 'rot_3'];
    const count = opacities.length, rows = new DataView(new ArrayBuffer(4 * names.length * count));
    const head = `ply\nformat binary_little_endian 1.0\nelement vertex ${count}\n${names.map(n => `property float ${n}\n`).join('')}end_header\n`;
    for (let i = 0, at = 0; i < count; i++) {
      const a = Math.max(1e-6, Math.min(1 - 1e-6, opacities[i])), q = quats.subarray(4 * i, 4 * i + 4), length = Math.hypot(...q) || 1;
      const row = [...means.subarray(3 * i, 3 * i + 3), 0, 0, 0, ...sh.subarray(3 * i, 3 * i + 3), Math.log(a / (1 - a))];
      for (let k = 0; k < 3; k++) row.push(Math.log(Math.max(1e-12, scales[3 * i + k])));
      for (let k = 0; k < 4; k++) row.push(q[k] / length);
      for (const value of row) { rows.setFloat32(at, value, true); at += 4; }
    }
    return new Blob([head, rows.buffer], {type: 'application/octet-stream'});
  }

  async function png(rgba, size) {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = size;
    canvas.getContext('2d').putImageData(new ImageData(rgba, size, size), 0, 0);
    const blob = await new Promise(done => canvas.toBlob(done, 'image/png'));
    return new Uint8Array(await blob.arrayBuffer());
  }

  async function zip(views) {  // views: {camera, rgba}
    const names = views.map((_, i) => `${String(i).padStart(3, '0')}_rgba.png`), entries = {};
    for (let i = 0; i < views.length; i++) entries[names[i]] = await png(views[i].rgba, views[i].camera.size);
    entries['opencv_cameras.json'] = new TextEncoder().encode(LRMZeroLab.cameras.json(views.map(v => v.camera), names));
    return new Blob([LRMZeroThree.zipSync(entries, {level: 0})], {type: 'application/zip'});
  }

  function download(blob, name) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob); link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  return {ply, zip, download};
})();
