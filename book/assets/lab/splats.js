// Pictures of Gaussians in WebGL 2, with the semantics of lrmzero_lite's render_splats (gsplat's): premultiplied over white,
// eps2d on the diagonal of the projected covariance, colour = 0.5 + Y_00 sh, nothing fainter than 1/255.
'use strict';
window.LRMZeroLab = window.LRMZeroLab || {};

LRMZeroLab.splats = (() => {
  const WIDTH = 2048, TEXELS = 4, EPS2D = 0.3, TRAINED = 128, FILMS = 6, Y00 = 0.28209479177387814;

  const VERTEX = `#version 300 es
precision highp float; precision highp int; precision highp usampler2D; precision highp sampler2D;
uniform sampler2D scene; uniform usampler2D order; uniform vec3 row0, row1, row2, shift; uniform vec4 lens; uniform float size, blur;
flat out vec4 color; out vec2 offset;
int index;
vec4 texel(int k) { int at = index * ${TEXELS} + k; return texelFetch(scene, ivec2(at % ${WIDTH}, at / ${WIDTH}), 0); }
void main() {
  gl_Position = vec4(2, 2, 2, 1);
  int n = gl_VertexID / 6, side = gl_VertexID % 6;
  side = side < 3 ? side : 6 - side;
  index = int(texelFetch(order, ivec2(n % ${WIDTH}, n / ${WIDTH}), 0).r);
  vec4 a = texel(0), q = texel(1), b = texel(2);
  mat3 view = transpose(mat3(row0, row1, row2));
  vec3 p = view * a.xyz + shift;
  if (p.z < 0.01) return;
  mat3 spin = mat3(0, q.w, -q.z, -q.w, 0, q.y, q.z, -q.y, 0), axes = mat3(1) + 2.0 * (q.x * spin + spin * spin);
  mat3 A = transpose(view * mat3(axes[0] * b.x, axes[1] * b.y, axes[2] * b.z));
  vec2 low = (-lens.zw - 0.15 * size) / lens.xy, high = (1.15 * size - lens.zw) / lens.xy, t = clamp(p.xy / p.z, low, high);
  vec3 gx = (A[0] - t.x * A[2]) * lens.x / p.z, gy = (A[1] - t.y * A[2]) * lens.y / p.z;
  float xx = dot(gx, gx) + blur, xy = dot(gx, gy), yy = dot(gy, gy) + blur;
  float middle = 0.5 * (xx + yy), spread = length(vec2(0.5 * (xx - yy), xy));
  vec2 axis = abs(xy) > 1e-6 * middle ? normalize(vec2(xy, middle + spread - xx)) : xx >= yy ? vec2(1, 0) : vec2(0, 1);
  offset = (vec2(side & 1, side >> 1) * 2.0 - 1.0) * sqrt(2.0 * log(255.0 * a.w));
  vec2 pixel = lens.xy * p.xy / p.z + lens.zw + offset.x * sqrt(middle + spread) * axis
    + offset.y * sqrt(max(middle - spread, blur)) * vec2(-axis.y, axis.x);
  gl_Position = vec4(pixel * 2.0 / size - 1.0, 0, 1);  // row 0 of the image is row 0 of the buffer
  color = vec4(texel(3).rgb, a.w);
}`;
  const FRAGMENT = `#version 300 es
precision highp float; flat in vec4 color; in vec2 offset; out vec4 result;
void main() {
  float alpha = min(0.999, color.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < 1.0 / 255.0) discard;
  result = vec4(color.rgb * alpha, alpha);
}`;
  const COPY_VERTEX = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0, 1); }`;
  const COPY_FRAGMENT = `#version 300 es
precision highp float; uniform sampler2D film; out vec4 result;
void main() {
  vec4 c = texelFetch(film, ivec2(gl_FragCoord.xy), 0);
  result = vec4(c.rgb + 1.0 - c.a, 1);
}`;

  let gl, deep, paint, copy;

  function start() {
    if (gl && !gl.isContextLost()) return;
    gl = document.createElement('canvas').getContext('webgl2', {antialias: false, depth: false});
    if (!gl) throw new Error('This browser offers no WebGL 2, which drawing the Gaussians needs.');
    // accumulate in half floats where the browser can: eight bits would band faint layers
    deep = gl.getExtension('EXT_color_buffer_float') || gl.getExtension('EXT_color_buffer_half_float');
    paint = program(VERTEX, FRAGMENT);
    copy = program(COPY_VERTEX, COPY_FRAGMENT);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.pixelStorei(gl.PACK_ALIGNMENT, 1);
  }

  // ---- as in the splat viewer (lrmzero_lite/viz/viewer_orbit.js and splat_viewer.html): program, texture, order
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

  function texture(unit, internal, width, height, format, type, data) {
    const made = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit); gl.bindTexture(gl.TEXTURE_2D, made);
    for (const key of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, key, gl.NEAREST);
    gl.texImage2D(gl.TEXTURE_2D, 0, internal, width, height, 0, format, type, data);
    return made;
  }

  // ---- order: far to near, a radix sort of float depths in two passes of 16 bits
  function sorter(centers) {
    const count = centers.length / 3, order = new Uint32Array(WIDTH * Math.ceil(count / WIDTH)), half = new Uint32Array(count);
    const bits = new Uint32Array(count), depths = new Float32Array(bits.buffer), lows = new Uint32Array(65536), highs = new Uint32Array(65536);
    return (x, y, z) => {
      lows.fill(0); highs.fill(0);
      for (let i = 0; i < count; i++) {
        depths[i] = -(x * centers[3 * i] + y * centers[3 * i + 1] + z * centers[3 * i + 2]);
        bits[i] ^= bits[i] >> 31 | 0x80000000;  // the bits of a float, ordered like its value
        lows[bits[i] & 65535]++; highs[bits[i] >>> 16]++;
      }
      for (let k = 0, low = 0, high = 0; k < 65536; k++) [lows[k], low, highs[k], high] = [low, low + lows[k], high, high + highs[k]];
      for (let i = 0; i < count; i++) half[lows[bits[i] & 65535]++] = i;
      for (let n = 0; n < count; n++) order[highs[bits[half[n]] >>> 16]++] = half[n];
      return order;
    };
  }

  // Gaussians {means [N*3], quats [N*4] w x y z, scales [N*3], opacities [N], sh [N*3]} to {count, pixels(camera), dispose()}.
  function scene({means, quats, scales, opacities, sh}) {
    start();
    const kept = [];
    for (let i = 0; i < opacities.length; i++) if (opacities[i] >= 1 / 255) kept.push(i);
    const count = kept.length, rows = Math.max(1, Math.ceil(count * TEXELS / WIDTH));
    const data = new Float32Array(WIDTH * rows * 4), centers = new Float32Array(3 * count);
    kept.forEach((i, n) => {
      const at = 4 * TEXELS * n, length = Math.hypot(quats[4 * i], quats[4 * i + 1], quats[4 * i + 2], quats[4 * i + 3]) || 1;
      for (let k = 0; k < 4; k++) data[at + 4 + k] = quats[4 * i + k] / length;
      for (let k = 0; k < 3; k++) {
        centers[3 * n + k] = data[at + k] = means[3 * i + k];
        data[at + 8 + k] = scales[3 * i + k];
        data[at + 12 + k] = Math.max(0, 0.5 + Y00 * sh[3 * i + k]);
      }
      data[at + 3] = opacities[i];
    });
    const sort = sorter(centers), orderRows = Math.max(1, Math.ceil(count / WIDTH));
    const table = texture(0, gl.RGBA32F, WIDTH, rows, gl.RGBA, gl.FLOAT, data);
    const order = texture(2, gl.R32UI, WIDTH, orderRows, gl.RED_INTEGER, gl.UNSIGNED_INT, new Uint32Array(WIDTH * orderRows));
    const films = new Map(), bind = (unit, made) => { gl.activeTexture(gl.TEXTURE0 + unit); gl.bindTexture(gl.TEXTURE_2D, made); };

    function free({drawn, read, targets}) {
      targets.forEach(target => gl.deleteFramebuffer(target));
      gl.deleteTexture(drawn); gl.deleteTexture(read);
    }
    function film(size) {  // what is drawn on, and what is read
      if (!films.has(size)) {
        if (films.size === FILMS) {  // the oldest goes: a window that is being resized asks for many sizes
          const [first, old] = films.entries().next().value;
          free(old);
          films.delete(first);
        }
        const drawn = deep ? texture(1, gl.RGBA16F, size, size, gl.RGBA, gl.HALF_FLOAT, null)
          : texture(1, gl.RGBA8, size, size, gl.RGBA, gl.UNSIGNED_BYTE, null);
        const read = texture(3, gl.RGBA8, size, size, gl.RGBA, gl.UNSIGNED_BYTE, null);
        const targets = [drawn, read].map(made => {
          const target = gl.createFramebuffer();
          gl.bindFramebuffer(gl.FRAMEBUFFER, target);
          gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, made, 0);
          return target;
        });
        films.set(size, {drawn, read, targets});
      }
      return films.get(size);
    }

    // One picture [size * size * 4], opaque, over white, rows from the top.
    function pixels(camera) {
      if (gl.isContextLost()) throw new Error('The browser has closed its graphics; press Reconstruct again.');
      const {viewmat: m, fx, fy, cx, cy, size} = camera, {drawn, targets} = film(size);
      const sorted = sort(m[8], m[9], m[10]);
      bind(2, order);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, WIDTH, orderRows, gl.RED_INTEGER, gl.UNSIGNED_INT, sorted);
      bind(0, table); bind(1, drawn);
      gl.viewport(0, 0, size, size);
      gl.bindFramebuffer(gl.FRAMEBUFFER, targets[0]);
      gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT);
      gl.enable(gl.BLEND);
      gl.useProgram(paint.made);
      gl.uniform1i(paint.at('scene'), 0); gl.uniform1i(paint.at('order'), 2);
      for (const k of [0, 1, 2]) gl.uniform3f(paint.at(`row${k}`), m[4 * k], m[4 * k + 1], m[4 * k + 2]);
      gl.uniform3f(paint.at('shift'), m[3], m[7], m[11]);
      gl.uniform4f(paint.at('lens'), fx, fy, cx, cy);
      gl.uniform1f(paint.at('size'), size);
      gl.uniform1f(paint.at('blur'), EPS2D * Math.max(1, size / TRAINED) ** 2);  // the same share of the picture as in training
      gl.drawArrays(gl.TRIANGLES, 0, 6 * count);
      gl.disable(gl.BLEND);
      gl.bindFramebuffer(gl.FRAMEBUFFER, targets[1]);
      gl.useProgram(copy.made);
      gl.uniform1i(copy.at('film'), 1);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
      const out = new Uint8ClampedArray(size * size * 4);
      gl.readPixels(0, 0, size, size, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(out.buffer));
      return out;
    }

    function dispose() {
      for (const old of films.values()) free(old);
      gl.deleteTexture(table); gl.deleteTexture(order);
    }
    return {count, pixels, dispose};
  }

  return {scene};
})();
