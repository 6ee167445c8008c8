// What the lab (book/assets/lab) needs of three.js, in one classic script. Made with esbuild, in a folder with npm's three@0.187.0:
//   esbuild entry.js --bundle --minify --format=iife --global-name=LRMZeroThree --target=es2020 --legal-comments=none
//     --banner:js="/* three.js 0.187.0 and its fflate 0.8.3, MIT licences, see LICENSE; made from entry.js */" --outfile=three.js
export {
  DataTexture, DoubleSide, GLSL3, LinearFilter, LinearMipmapNearestFilter, LoadingManager, Matrix3, Matrix4, Mesh, NearestFilter, NoBlending,
  OrthographicCamera, PlaneGeometry, RawShaderMaterial, Scene, TextureLoader, WebGLRenderer, WebGLRenderTarget,
} from 'three';
export {GLTFLoader} from 'three/examples/jsm/loaders/GLTFLoader.js';
export {zipSync} from 'three/examples/jsm/libs/fflate.module.js';
