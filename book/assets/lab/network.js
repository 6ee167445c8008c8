// The shipped network in the reader's browser: ONNX Runtime Web in a worker, from files of this site alone.
// Every file comes as scripts that hold base64 (book/_ext/lab_files.py), since a page opened from disk may not fetch.
'use strict';
window.LRMZeroNetwork = (() => {
  const here = document.currentScript.src.replace(/[^/]*$/, '');
  const RUNTIME = 'ort.wasm.min.js', GLUE = 'ort-wasm-simd-threaded.mjs', WASM = 'ort-wasm-simd-threaded.wasm.gz';
  const FAILED = 'The network could not be loaded';
  const pieces = {};  // file -> its base64 pieces so far
  let files, worker, loading, waiting;

  window.LRMZeroFiles = {
    list(found) { files = found; },
    piece(name, index, text) { (pieces[name] ||= [])[index] = text; },
  };

  function script(name) {
    return new Promise((done, fail) => {
      const tag = document.createElement('script');
      tag.src = here + 'files/' + name;
      tag.onload = () => { tag.remove(); done(); };
      tag.onerror = () => { tag.remove(); fail(new Error(`${FAILED}: ${tag.src} did not load; check the connection, or that the file is there, and try again.`)); };
      document.head.append(tag);
    });
  }

  function decoded(texts) {  // base64 pieces of whole triples, so that they can be decoded one by one
    const parts = texts.map(text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0)));
    const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    parts.reduce((start, part) => { all.set(part, start); return start + part.length; }, 0);
    return all;
  }

  async function unpacked(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // ---- what runs in the worker: it sees nothing of this scope --------------------------------------------------------
  function atWork() {
    let session;
    const answers = {
      async load({wasm, glue, graph, weights, weightsName}) {
        Object.assign(ort.env, {logLevel: 'error'});
        const mjs = URL.createObjectURL(new Blob([glue], {type: 'text/javascript'}));
        Object.assign(ort.env.wasm, {numThreads: 1, wasmBinary: wasm.buffer, wasmPaths: {mjs}});
        const options = {executionProviders: ['wasm'], logSeverityLevel: 3, externalData: [{path: weightsName, data: weights}]};
        session = await ort.InferenceSession.create(graph, options);
        URL.revokeObjectURL(mjs);
        return [{}, []];
      },
      async run({images, viewmats, Ks, views, size}) {
        const tensor = (data, ...shape) => new ort.Tensor('float32', data, [views, ...shape]);
        const given = {images: tensor(images, size, size, 3), viewmats: tensor(viewmats, 4, 4), Ks: tensor(Ks, 3, 3)};
        const started = performance.now(), found = await session.run(given), seconds = (performance.now() - started) / 1000;
        const values = Object.fromEntries(Object.entries(found).map(([name, value]) => [name, value.data.slice()]));
        return [{...values, seconds}, Object.values(values).map(value => value.buffer)];
      },
    };
    self.onmessage = async ({data: {verb, given}}) => {
      try {
        const [found, moved] = await answers[verb](given);
        self.postMessage({found}, moved);
      } catch (error) { self.postMessage({problem: String(error && error.message || error)}); }
    };
  }

  function ask(verb, given, moved = []) {  // one question at a time, in the order in which they are asked
    const asked = (waiting || Promise.resolve()).catch(() => {}).then(() => new Promise((done, fail) => {
      worker.onmessage = ({data}) => data.problem === undefined ? done(data.found) : fail(new Error(data.problem));
      worker.onerror = event => fail(new Error(event.message || 'the worker ended'));
      worker.postMessage({verb, given}, moved);
    }));
    return waiting = asked;
  }

  async function loadOnce(onProgress) {
    await script('list.js');
    const names = Object.keys(files), total = names.reduce((sum, name) => sum + files[name].bytes, 0), found = {};
    let done = 0;
    for (const name of names) {
      for (let index = 0; index < files[name].pieces; index++) {
        onProgress({what: `loading ${files[name].what}`, done, total});
        await script(`${name}.${index}.js`);
        done += Math.min(files[name].pieceBytes, files[name].bytes - index * files[name].pieceBytes);
      }
      found[name] = decoded(pieces[name]);
      delete pieces[name];
    }
    onProgress({what: 'starting the network', done: total, total});
    const graph = names.find(name => name.endsWith('.onnx')), weightsName = names.find(name => name.endsWith('.safetensors'));
    const source = new Blob([found[RUNTIME], `\n(${atWork})();`], {type: 'text/javascript'});
    const address = URL.createObjectURL(source);
    worker = new Worker(address);
    const given = {wasm: await unpacked(found[WASM]), glue: found[GLUE], graph: found[graph], weights: found[weightsName], weightsName};
    try { await ask('load', given, [given.wasm.buffer, given.weights.buffer]); } finally { URL.revokeObjectURL(address); }
  }

  return {
    // Load everything, once; a failed attempt can be made again.
    load(onProgress = () => {}) {
      return loading ||= loadOnce(onProgress).catch(error => {
        loading = undefined;
        if (worker) worker.terminate();
        throw error.message.startsWith(FAILED) ? error : new Error(`${FAILED}: ${error.message}.`);
      });
    },
    // {images, viewmats, Ks: Float32Array, views, size} -> {means, quats, scales, opacities, sh: Float32Array, seconds}
    async run(given) {
      await this.load();
      const {images, viewmats, Ks, views, size} = given;
      const wanted = {images: views * size * size * 3, viewmats: views * 16, Ks: views * 9};
      for (const [name, length] of Object.entries(wanted)) {
        if (given[name].length !== length) throw new Error(`${name} holds ${given[name].length} numbers; ${views} views of ${size} pixels need ${length}.`);
      }
      return ask('run', {images, viewmats, Ks, views, size});
    },
  };
})();
