// A dropped GLB and its pictures, as lrmzero_lite's load_mesh and render_mesh make them: Z-up, centred, longest side 1.8; base
// colour alone (uniform light), colours averaged in linear light over the covered samples of a pixel, then encoded as sRGB.
'use strict';
window.LRMZeroLab = window.LRMZeroLab || {};

LRMZeroLab.truth = (() => {
  const OBJECT_SIZE = 1.8, GREY = 128 / 255, FILMS = 6, READABLE = ['KHR_texture_transform', 'KHR_mesh_quantization', 'EXT_texture_webp', 'KHR_lights_punctual'];

  const VERTEX = `precision highp float;
in vec3 position; in vec2 place; in vec4 paint;
uniform mat4 model, view; uniform mat3 turn; uniform vec4 lens; uniform vec2 range; uniform float size;
out vec2 at; out vec4 tint;
void main() {
  vec4 p = view * (model * vec4(position, 1));
  vec2 pixel = lens.xy * p.xy + lens.zw * p.z;
  gl_Position = vec4(pixel * 2.0 / size - p.z, p.z * (range.y + range.x) / (range.y - range.x) - 2.0 * range.x * range.y / (range.y - range.x), p.z);
  at = (turn * vec3(place, 1)).xy; tint = paint;
}`;
  // The sRGB curve and its inverse, twins of lrmzero_lite/srgb.py.
  const ENCODE = `vec3 encode(vec3 c) { c = clamp(c, 0.0, 1.0); return mix(12.92 * c, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c)); }
vec3 decode(vec3 c) { return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c)); }`;
  const FRAGMENT = `precision highp float;
in vec2 at; in vec4 tint; uniform sampler2D map; uniform vec4 factor; uniform float samples, cutoff; out vec4 result;
${ENCODE}
void main() {
  vec4 c = factor;
#ifdef TINTED
  c *= tint;
#endif
#ifdef MAPPED
  // looked up near the middle of the pixel (less so where the surface is seen at a slant, and the middle may lie off it),
  // bilinear within the level whose texels are nearest in area to a pixel
  vec2 dx = dFdx(at) * samples, dy = dFdy(at) * samples, off = 0.5 - fract(gl_FragCoord.xy / samples), side = vec2(textureSize(map, 0));
  float area = abs(dx.x * dy.y - dx.y * dy.x) * side.x * side.y, longest = max(dot(dx * side, dx * side), dot(dy * side, dy * side));
  off *= area / max(longest, 1e-20);
  c *= textureLod(map, at + off.x * dx + off.y * dy, max(0.0, floor(0.5 * log2(max(area, 1e-20)) + 0.5)));
#endif
  if (c.a < cutoff) discard;
  result = vec4(encode(c.rgb), 1);
}`;
  const RESOLVE_VERTEX = 'in vec3 position; void main() { gl_Position = vec4(position.xy, 0, 1); }';
  const RESOLVE = `precision highp float; uniform sampler2D film; uniform int samples; out vec4 result;
${ENCODE}
void main() {
  vec4 sum = vec4(0); ivec2 first = ivec2(gl_FragCoord.xy) * samples;
  for (int i = 0; i < samples; i++) for (int j = 0; j < samples; j++) {
    vec4 c = texelFetch(film, first + ivec2(j, i), 0);
    sum += c.a * vec4(decode(c.rgb), 1);
  }
  result = vec4(encode(sum.rgb / max(sum.a, 1.0)), sum.a / float(samples * samples));
}`;

  // ---- the file: what we cannot read is said before three.js meets it
  function check(buffer, name) {
    const view = new DataView(buffer), fail = why => { throw new Error(`${name} ${why}`); };
    if (buffer.byteLength < 20 || view.getUint32(0, true) !== 0x46546c67) fail('is not a GLB file (glTF 2.0, binary); export it again as .glb.');
    if (view.getUint32(4, true) !== 2) fail(`is glTF ${view.getUint32(4, true)}; only glTF 2.0 is read: export it again.`);
    let json;
    try {
      json = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 20, view.getUint32(12, true))));
    } catch (error) {
      fail('is damaged (its description cannot be read); export it again.');
    }
    const used = json.extensionsRequired || [], odd = used.find(e => !READABLE.includes(e) && !e.startsWith('KHR_materials_'));
    const packed = {KHR_draco_mesh_compression: 'Draco', EXT_meshopt_compression: 'meshopt', KHR_meshopt_compression: 'meshopt', KHR_texture_basisu: 'KTX2'}[odd];
    if (packed) fail(`is compressed with ${packed}, which this page does not unpack; export it without compression.`);
    if (odd) fail(`requires the glTF extension ${odd}, which is not read here; export it without it.`);
    const away = [...json.buffers || [], ...json.images || []].find(part => part.uri && !part.uri.startsWith('data:'));
    if (away) fail(`keeps ${away.uri} in a file of its own; export everything into one .glb.`);
    const triangles = p => [4, 5, 6, undefined].includes(p.mode) && p.attributes && 'POSITION' in p.attributes;
    if (!(json.meshes || []).some(mesh => (mesh.primitives || []).some(triangles))) fail('holds no triangles; give a mesh with at least one.');
  }

  async function load(buffer, name) {
    const three = LRMZeroThree, manager = new three.LoadingManager(), loader = new three.GLTFLoader(manager);
    let lost = false;
    manager.onError = () => { lost = true; };
    loader.register(parser => {  // pictures through <img>, which works from file:// in every browser
      parser.textureLoader = new three.TextureLoader(manager);
      return {name: 'LAB_textures'};
    });
    const found = await loader.parseAsync(buffer, '').catch(error => { throw new Error(`${name} cannot be read (${error.message}); export it again.`); });
    if (lost) throw new Error(`${name} holds a picture that this browser cannot decode; export it with PNG or JPEG textures.`);
    return found;
  }

  // ---- one renderer for all objects
  let renderer, films = new Map();
  function start() {
    if (renderer && !renderer.getContext().isContextLost()) return;
    const canvas = document.createElement('canvas'), context = canvas.getContext('webgl2', {antialias: false, depth: false});
    if (!context) throw new Error('This browser offers no WebGL 2, which drawing the object needs.');
    renderer = new LRMZeroThree.WebGLRenderer({canvas, context});
    films = new Map();
    renderer.setClearColor(0, 0);
  }
  function film(size, samples) {
    const key = `${size} ${samples}`, {WebGLRenderTarget, NearestFilter} = LRMZeroThree, options = {minFilter: NearestFilter, magFilter: NearestFilter};
    if (!films.has(key)) {
      if (films.size === FILMS) {  // the oldest goes: a window that is being resized asks for many sizes
        const [first, old] = films.entries().next().value;
        old.forEach(target => target.dispose());
        films.delete(first);
      }
      films.set(key, [new WebGLRenderTarget(size * samples, size * samples, options), new WebGLRenderTarget(size, size, {...options, depthBuffer: false})]);
    }
    return films.get(key);
  }

  // twins of lrmzero_lite/srgb.py as well
  const decode = x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  const encode = x => x <= 0.0031308 ? 12.92 * x : 1.055 * Math.min(1, x) ** (1 / 2.4) - 0.055;

  // A texture of a MASK or BLEND material as our loader paints it: clear texels over white, the factor within.
  function overWhite(map, factor, opacity, cutoff) {
    const canvas = document.createElement('canvas'), context = canvas.getContext('2d', {willReadFrequently: true});
    canvas.width = map.image.width; canvas.height = map.image.height;
    context.drawImage(map.image, 0, 0);
    const picture = context.getImageData(0, 0, canvas.width, canvas.height), {data} = picture;
    const tables = factor.map(f => Array.from({length: 256}, (_, i) => 255 * encode(f * decode(i / 255))));
    for (let i = 0; i < data.length; i += 4) {
      const alpha = data[i + 3] / 255 * opacity, shown = cutoff > 0 ? Number(alpha >= cutoff) : alpha;
      for (let k = 0; k < 3; k++) data[i + k] = tables[k][data[i + k]] * shown + 255 * (1 - shown);
      data[i + 3] = 255 * shown;
    }
    const made = new LRMZeroThree.DataTexture(data, canvas.width, canvas.height);
    for (const key of ['wrapS', 'wrapT', 'colorSpace', 'offset', 'repeat', 'center', 'rotation', 'channel']) made[key] = map[key];
    return made;
  }

  function material(json, source, primitive, tinted) {
    const three = LRMZeroThree, plain = primitive && primitive.material === undefined, defines = tinted ? {TINTED: 1} : {};
    const mode = plain ? 'OPAQUE' : (json.materials[primitive.material] || {}).alphaMode || 'OPAQUE', opacity = mode === 'OPAQUE' ? 1 : source.opacity;
    const cutoff = mode === 'MASK' ? source.alphaTest : 0, {color} = source, grey = decode(GREY);
    let factor = plain && !tinted ? [grey, grey, grey] : [color.r, color.g, color.b], map = source.map;
    if (mode !== 'OPAQUE') {
      if (map) { map = overWhite(map, factor, opacity, cutoff); factor = [1, 1, 1]; }
      else if (opacity < cutoff) return null;
      else if (mode === 'BLEND') factor = factor.map(f => decode(encode(f) * opacity + 1 - opacity));
    }
    if (map) {
      defines.MAPPED = 1;
      map.minFilter = three.LinearMipmapNearestFilter; map.magFilter = three.LinearFilter; map.generateMipmaps = true; map.anisotropy = 1;
      map.needsUpdate = true;
      map.updateMatrix();
    }
    return new three.RawShaderMaterial({
      vertexShader: VERTEX, fragmentShader: FRAGMENT, glslVersion: three.GLSL3, side: three.DoubleSide, blending: three.NoBlending, defines,
      uniforms: {
        model: {value: null}, view: {value: null}, lens: {value: [0, 0, 0, 0]}, range: {value: [0, 0]}, size: {value: 1}, samples: {value: 1},
        map: {value: map}, turn: {value: map ? map.matrix : new three.Matrix3()}, factor: {value: [...factor, 1]},
        cutoff: {value: mode === 'OPAQUE' ? 0 : 0.5 / 255},
      },
    });
  }

  // The drawable parts under one matrix that brings the whole object upright, to the origin, and to its size.
  function gather(gltf, name) {
    const three = LRMZeroThree, {json, associations} = gltf.parser, parts = [], low = [Infinity, Infinity, Infinity], high = low.map(x => -x);
    let triangles = 0;
    if (!gltf.scene) throw new Error(`${name} has no scene that would place its meshes; export it again.`);
    gltf.scene.updateMatrixWorld(true);
    gltf.scene.traverse(node => {
      if (!node.isMesh) return;
      const geometry = node.geometry, tinted = Boolean(geometry.attributes.color), position = geometry.attributes.position, index = geometry.index, map = node.material.map;
      const link = associations.get(node) || {}, primitive = (json.meshes[link.meshes] || {primitives: []}).primitives[link.primitives || 0];
      const paint = material(json, node.material, primitive, tinted);
      if (!paint) return;
      const upright = new three.Matrix4().set(1, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1);  // glTF is Y-up
      const matrix = node.isSkinnedMesh ? upright : upright.multiply(node.matrixWorld), e = matrix.elements;
      const place = geometry.attributes[map && map.channel ? `uv${map.channel}` : 'uv'];
      if (place) geometry.setAttribute('place', place);
      if (tinted) geometry.setAttribute('paint', geometry.attributes.color);
      for (let n = 0, count = index ? index.count : position.count; n < count; n++) {
        const i = index ? index.getX(n) : n, x = position.getX(i), y = position.getY(i), z = position.getZ(i);
        for (let k = 0; k < 3; k++) {
          const value = e[k] * x + e[4 + k] * y + e[8 + k] * z + e[12 + k];
          if (value < low[k]) low[k] = value;
          if (value > high[k]) high[k] = value;
          if (!Number.isFinite(value)) throw new Error(`${name} holds a vertex that is not finite; repair the mesh and export it again.`);
        }
      }
      triangles += (index ? index.count : position.count) / 3;
      const mesh = new three.Mesh(geometry, paint);
      mesh.frustumCulled = false;
      parts.push({mesh, matrix});
    });
    const extent = Math.max(...[0, 1, 2].map(k => high[k] - low[k]));
    if (!triangles) throw new Error(`${name} shows no triangles; give a mesh with at least one.`);
    if (!(extent > 0)) throw new Error(`${name} has no extent (all vertices coincide); give a mesh with a volume.`);
    const s = OBJECT_SIZE / extent, [x, y, z] = low.map((l, k) => -s * (l + high[k]) / 2);
    const norm = new three.Matrix4().set(s, 0, 0, x, 0, s, 0, y, 0, 0, s, z, 0, 0, 0, 1);
    for (const {mesh, matrix} of parts) mesh.material.uniforms.model.value = matrix.premultiply(norm);
    return {meshes: parts.map(part => part.mesh), triangles};
  }

  // A GLB as bytes to {name, triangles, pixels(camera, samples), dispose()}. Rejects with an Error of one sentence.
  async function open(buffer, name) {
    check(buffer, name);
    start();
    const three = LRMZeroThree, gltf = await load(buffer, name), {meshes, triangles} = gather(gltf, name);
    const scene = new three.Scene(), flat = new three.Scene(), camera = new three.OrthographicCamera(), view = new three.Matrix4();
    scene.add(...meshes);
    const resolve = new three.RawShaderMaterial({
      vertexShader: RESOLVE_VERTEX, fragmentShader: RESOLVE, glslVersion: three.GLSL3, blending: three.NoBlending, depthTest: false,
      uniforms: {film: {value: null}, samples: {value: 1}},
    });
    const sheet = new three.Mesh(new three.PlaneGeometry(2, 2), resolve);
    sheet.frustumCulled = false;
    flat.add(sheet);

    // One picture [size * size * 4], straight alpha, rows from the top; samples x samples per pixel.
    function pixels({viewmat, fx, fy, cx, cy, size}, samples = 4) {
      if (renderer.getContext().isContextLost()) throw new Error('The browser has closed its graphics; choose the object again.');
      const [drawn, read] = film(size, samples), distance = Math.hypot(viewmat[3], viewmat[7], viewmat[11]);
      view.set(...viewmat);
      for (const {material: {uniforms}} of meshes) {
        uniforms.view.value = view;
        uniforms.lens.value = [fx, fy, cx, cy];
        uniforms.range.value = [Math.max(0.05, distance - OBJECT_SIZE), distance + OBJECT_SIZE];
        uniforms.size.value = size;
        uniforms.samples.value = samples;
      }
      renderer.setRenderTarget(drawn);
      renderer.render(scene, camera);
      resolve.uniforms.film.value = drawn.texture;
      resolve.uniforms.samples.value = samples;
      renderer.setRenderTarget(read);
      renderer.render(flat, camera);
      const out = new Uint8ClampedArray(size * size * 4);
      renderer.readRenderTargetPixels(read, 0, 0, size, size, new Uint8Array(out.buffer));
      return out;
    }

    function dispose() {
      for (const mesh of meshes) {
        const map = mesh.material.uniforms.map.value;
        if (map) map.dispose();
        mesh.geometry.dispose(); mesh.material.dispose();
      }
      resolve.dispose(); sheet.geometry.dispose();
    }
    pixels(LRMZeroLab.cameras.protocol(16, 16), 1);  // the first picture compiles the shaders, and fails here if it must
    return {name, triangles, pixels, dispose};
  }

  return {open};
})();
