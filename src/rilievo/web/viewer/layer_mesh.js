// Meshes: coarse levels first, finer ones after; four looks. Also faces that no photo measured, and holes.

import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import * as data from "./data.js";
import { RAMP_GLSL, logRange, ramp } from "./colors.js";

const COARSE_FACES = 40_000; // what is drawn of a mesh while it moves, where the CPU draws
const loader = new GLTFLoader();

export async function readGlb(address) {
  const gltf = await loader.parseAsync(await data.file(address), "");
  gltf.scene.updateMatrixWorld(true);
  return gltf.scene;
}

const SIGMA = {
  vertexShader: `
attribute float _sigma;
varying float vSigma;
varying vec3 vView;
#include <clipping_planes_pars_vertex>
void main() {
  vSigma = _sigma;
  #include <begin_vertex>
  #include <project_vertex>
  vView = mvPosition.xyz;
  #include <clipping_planes_vertex>
}`,
  fragmentShader: `
varying float vSigma;
varying vec3 vView;
#include <clipping_planes_pars_fragment>
${RAMP_GLSL}
void main() {
  #include <clipping_planes_fragment>
  vec3 n = normalize(cross(dFdx(vView), dFdy(vView)));
  gl_FragColor = vec4(rampColor(vSigma) * (0.45 + 0.55 * abs(n.z)), 1.0);
}`,
};

export class MeshLayer {
  constructor(stage, entry) {
    Object.assign(this, { stage, entry, group: new THREE.Group(), levels: [], look: "textured", wires: false });
    this.group.matrixAutoUpdate = false;
    this.loading = null;
    this.error = null;
    if (!entry.textured) this.look = "shaded";
  }

  /** The looks that this mesh has. */
  get looks() {
    return [...(this.entry.textured ? ["textured"] : this.colored ? ["textured"] : []), "shaded", ...(this.entry.has_sigma ? ["sigma"] : [])];
  }

  update(entry) {
    const same = entry.version === this.entry.version;
    this.entry = entry;
    if (!same) {
      for (const level of this.levels) level.drop();
      this.levels = [];
    }
    if (this.wanted) this.load();
  }

  /** Loads what is not here yet; the first level that comes is shown at once. */
  load() {
    this.wanted = true;
    const { version } = this.entry;
    this.loading ??= this._load().finally(() => {
      this.loading = null;
      if (this.wanted && version !== this.entry.version) this.load().catch(() => {});
    });
    return this.loading;
  }

  async _load() {
    const order = this.entry.levels.map((level, k) => ({ ...level, k }));
    for (const { url, faces } of order) {
      if (this.levels.some((have) => have.url === url) || !this.wanted) continue;
      // Coarser levels that come when a finer one is there serve moving pictures of the CPU only.
      if (this.levels.some((have) => have.faces > faces) && !this.stage.software) continue;
      try {
        const { version } = this.entry, scene = await readGlb(url);
        if (version !== this.entry.version) return; // built anew meanwhile: `update` asks again
        this._add(url, faces, scene);
        this.error = null;
      } catch (error) {
        this.error = error;
        throw error;
      }
    }
  }

  _add(url, faces, scene) {
    const materials = [];
    scene.traverse((node) => {
      if (!node.isMesh) return;
      const own = node.material;
      own.side = THREE.DoubleSide;
      if (own.map) own.map.anisotropy = this.stage.software ? 1 : 4;
      this.colored ||= Boolean(own.map || node.geometry.attributes.color);
      const shaded = new THREE.MeshLambertMaterial({ color: 0xb9b8b2, side: THREE.DoubleSide });
      shaded.flatShading = !node.geometry.attributes.normal;
      const sigma = new THREE.ShaderMaterial({
        ...SIGMA, side: THREE.DoubleSide, clipping: true,
        uniforms: { ramp: { value: ramp() }, logRange: { value: logRange(this.entry.sigma_range) } },
      });
      const looks = { textured: own, shaded, sigma: node.geometry.attributes._sigma ? sigma : shaded };
      const wire = new THREE.Mesh(node.geometry, new THREE.MeshBasicMaterial({
        wireframe: true, color: 0x0d0d0f, transparent: true, opacity: 0.28, depthWrite: false }));
      wire.userData.wire = true;
      wire.raycast = () => {};
      materials.push({ node, looks, wire });
      for (const m of [...Object.values(looks), wire.material]) {
        m.clippingPlanes = this.stage.planes;
        if (m !== wire.material) Object.assign(m, { polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1 });
      }
    });
    for (const { node, wire } of materials) node.add(wire);
    const level = { url, faces, scene, materials, drop: () => {
      this.group.remove(scene);
      for (const { node, looks, wire } of materials) {
        node.geometry.dispose();
        for (const m of [...Object.values(looks), wire.material]) { m.map?.dispose(); m.dispose(); }
      }
    } };
    this.levels.push(level);
    this.levels.sort((a, b) => a.faces - b.faces);
    this.group.add(scene);
    if (this.stage.software === false) { // finer has come: coarser goes
      for (const old of this.levels.splice(0, this.levels.length - 1)) old.drop();
    }
    this.dress();
  }

  /** Applies look and wires. */
  dress() {
    const look = this.looks.includes(this.look) ? this.look : this.looks[0];
    for (const { materials } of this.levels)
      for (const { node, looks, wire } of materials) {
        node.material = looks[look];
        wire.visible = this.wires;
      }
    this.choose(false);
    this.stage.invalidate();
  }

  get best() {
    return this.levels.at(-1) ?? null;
  }

  choose(moving) {
    const coarse = this.levels.filter((l) => l.faces <= COARSE_FACES).at(-1) ?? this.levels[0];
    const shown = moving && this.stage.software ? coarse : this.best;
    for (const level of this.levels) level.scene.visible = level === shown;
  }

  tick(moving) {
    this.choose(moving);
    return false;
  }

  get ready() {
    return this.levels.length > 0;
  }

  /** The nearest place on the surface along a ray. */
  pick(caster) {
    const best = this.best;
    if (!best) return null;
    const found = best.materials.flatMap(({ node }) => {
      node.updateWorldMatrix(true, false);
      return caster.intersectObject(node, false);
    });
    const cut = found.filter(({ point }) => this.stage.planes.every((p) => p.distanceToPoint(point) >= 0));
    cut.sort((a, b) => a.distance - b.distance);
    return cut[0] ?? null;
  }

  dispose() {
    this.wanted = false;
    for (const level of this.levels) level.drop();
    this.group.removeFromParent();
  }
}

/** Faces that no photo measured. */
export class InferredLayer {
  constructor(stage, entry) {
    Object.assign(this, { stage, entry, group: new THREE.Group(), ready: false });
  }

  update(entry) {
    const same = entry.version === this.entry.version;
    this.entry = entry;
    if (same) return;
    this.group.clear();
    this.ready = false;
    if (this.asked) this.load(true);
  }

  async load(again = false) {
    if (this.asked && !again) return;
    this.asked = true;
    const scene = await readGlb(this.entry.url);
    const material = new THREE.MeshBasicMaterial({
      color: 0xe36bd0, side: THREE.DoubleSide, transparent: true, opacity: 0.75, clippingPlanes: this.stage.planes,
      polygonOffset: true, polygonOffsetFactor: -1, polygonOffsetUnits: -2 });
    scene.traverse((node) => { if (node.isMesh) node.material = material; });
    this.group.add(scene);
    this.ready = true;
    this.stage.invalidate();
  }

  tick() { return false; }
  pick() { return null; }
  dispose() { this.group.removeFromParent(); }
}

/** The borders of holes. */
export class HoleLayer {
  constructor(stage, entry) {
    Object.assign(this, { stage, entry, group: new THREE.Group(), ready: true });
    this.update(entry);
  }

  update(entry) {
    this.entry = entry;
    this.group.clear();
    for (const line of entry.lines)
      this.group.add(new THREE.LineLoop(
        new THREE.BufferGeometry().setFromPoints(line.map((p) => new THREE.Vector3(...p))),
        new THREE.LineBasicMaterial({ color: 0xff5f4a, depthTest: false, clippingPlanes: this.stage.planes })));
  }

  async load() {}
  tick() { return false; }
  pick() { return null; }
  dispose() { this.group.removeFromParent(); }
}
