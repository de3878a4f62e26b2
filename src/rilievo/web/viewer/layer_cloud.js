// Point clouds by octree: a child adds points to its parent's. What is seen large is loaded first, up to a budget.

import * as THREE from "three";
import * as data from "./data.js";
import { RAMP_GLSL, logRange, ramp } from "./colors.js";

const PARALLEL = 6;
const ENOUGH_PX = 1.3; // points nearer to each other than this on the stage need no children

const SHADER = {
  vertexShader: `
attribute vec3 rgb;
attribute float value;
uniform float spacing, focal, sizeFactor, maxSize, byValue, ratio;
varying vec3 vColor;
varying float vValue;
#include <clipping_planes_pars_vertex>
void main() {
  vColor = rgb;
  vValue = value;
  #include <begin_vertex>
  #include <project_vertex>
  gl_PointSize = ratio * clamp(1.6 * sizeFactor * spacing * focal / max(-mvPosition.z, 1e-9), 1.4, maxSize * sizeFactor);
  #include <clipping_planes_vertex>
}`,
  fragmentShader: `
uniform float byValue;
varying vec3 vColor;
varying float vValue;
#include <clipping_planes_pars_fragment>
${RAMP_GLSL}
void main() {
  #include <clipping_planes_fragment>
  vec2 d = gl_PointCoord - 0.5;
  if (dot(d, d) > 0.25) discard;
  gl_FragColor = vec4(byValue > 0.5 ? rampColor(vValue) : vColor, 1.0);
}`,
};

export class CloudLayer {
  constructor(stage, entry) {
    Object.assign(this, { stage, group: new THREE.Group(), shown: new Map(), waiting: new Map(), failed: new Set() });
    this.size = 1;
    this.look = entry.kind === "sparse" ? "value" : "color";
    this.budget = stage.software ? 200_000 : 1_500_000;
    this.set(entry);
  }

  get range() {
    return this.entry.sigma_range ?? this.entry.error_range;
  }

  get looks() {
    return this.range ? ["color", "value"] : ["color"];
  }

  set(entry) {
    this.entry = entry;
    this.nodes = entry.nodes.map((n) => ({
      ...n, box: new THREE.Box3(new THREE.Vector3(...n.min), new THREE.Vector3(...n.max)) }));
  }

  update(entry) {
    if (entry.version === this.entry.version) return;
    for (const id of [...this.shown.keys()]) this.drop(id);
    for (const stop of this.waiting.values()) stop.abort();
    this.waiting.clear();
    this.failed.clear();
    this.set(entry);
    this.stage.invalidate();
  }

  load() {
    this.wanted = true;
    this.stage.invalidate();
    return Promise.resolve();
  }

  get ready() {
    return this.shown.size > 0;
  }

  dress() {
    for (const { material } of this.shown.values()) material.uniforms.byValue.value = this.look === "value" ? 1 : 0;
    this.stage.invalidate();
  }

  /** Chooses the nodes to draw. */
  tick(moving) {
    if (!this.wanted || !this.nodes.length) return false;
    const budget = moving && this.stage.software ? 0.35 * this.budget : this.budget;
    const { camera } = this.stage, focal = this.stage.focal().fx;
    const frustum = new THREE.Frustum().setFromProjectionMatrix(
      new THREE.Matrix4().multiplyMatrices(camera.projectionMatrix, camera.matrixWorldInverse));
    const worth = (node) => {
      const away = Math.max(node.box.distanceToPoint(camera.position), node.spacing);
      return (node.spacing * focal) / away;
    };
    const heap = [[Infinity, this.nodes[0]]], use = [];
    let num = 0;
    while (heap.length) {
      let best = 0;
      for (let i = 1; i < heap.length; i += 1) if (heap[i][0] > heap[best][0]) best = i;
      const [, node] = heap.splice(best, 1)[0];
      if (num + node.count > budget && use.length) break;
      if (!frustum.intersectsBox(node.box) && node.id !== 0) continue;
      use.push(node);
      num += node.count;
      if (worth(node) > ENOUGH_PX)
        for (const child of node.children) heap.push([worth(this.nodes[child]), this.nodes[child]]);
    }
    const ids = new Set(use.map((n) => n.id)), now = performance.now();
    for (const [id, have] of this.shown) {
      have.points.visible = ids.has(id);
      if (have.points.visible) have.used = now;
      have.material.uniforms.focal.value = focal;
      have.material.uniforms.sizeFactor.value = this.size;
      have.material.uniforms.ratio.value = this.stage.pixelRatio;
    }
    this.spread(0);
    for (const node of use) {
      if (this.waiting.size >= PARALLEL) break;
      if (!this.shown.has(node.id) && !this.waiting.has(node.id) && !this.failed.has(node.id)) this.fetch(node);
    }
    this.forget(ids);
    this.drawn = [...this.shown.values()].reduce((sum, h) => sum + (h.points.visible ? h.count : 0), 0);
    return false;
  }

  /** Points of a node lie as near to each other as those of its children that are drawn too. */
  spread(id) {
    const have = this.shown.get(id), node = this.nodes[id];
    let finest = 0, missing = false;
    for (const child of node.children)
      if (this.shown.get(child)?.points.visible) finest = Math.max(finest, this.spread(child));
      else missing = true;
    if (missing) finest = Math.max(finest, 0.7 * node.spacing);
    const spacing = finest || node.spacing;
    if (have) have.material.uniforms.spacing.value = spacing;
    return spacing;
  }

  /** Nodes that have not been seen for long make room. */
  forget(ids) {
    let total = 0;
    for (const have of this.shown.values()) total += have.count;
    const old = [...this.shown].filter(([id]) => !ids.has(id)).sort((a, b) => a[1].used - b[1].used);
    for (const [id, have] of old) {
      if (total <= 2 * this.budget) break;
      total -= have.count;
      this.drop(id);
    }
  }

  async fetch(node) {
    const stop = new AbortController();
    this.waiting.set(node.id, stop);
    try {
      const raw = await data.file(node.url, stop.signal);
      if (this.waiting.get(node.id) === stop) this.add(node, raw);
    } catch (error) {
      if (error.name !== "AbortError") this.failed.add(node.id);
    } finally {
      if (this.waiting.get(node.id) === stop) this.waiting.delete(node.id);
      this.stage.invalidate();
    }
  }

  add(node, raw) {
    const n = node.count, geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(raw, 0, 3 * n), 3));
    geometry.setAttribute("rgb", new THREE.BufferAttribute(new Uint8Array(raw, 12 * n, 3 * n), 3, true));
    geometry.setAttribute("value", new THREE.BufferAttribute(new Float32Array(raw.slice(15 * n, 19 * n)), 1));
    geometry.boundingBox = node.box.clone();
    geometry.boundingSphere = node.box.getBoundingSphere(new THREE.Sphere());
    const material = new THREE.ShaderMaterial({
      ...SHADER, clipping: true, clippingPlanes: this.stage.planes,
      uniforms: {
        ramp: { value: ramp() }, logRange: { value: logRange(this.range) }, spacing: { value: node.spacing },
        focal: { value: 1 }, sizeFactor: { value: this.size }, ratio: { value: 1 },
        maxSize: { value: this.entry.kind === "sparse" ? 4.5 : 12 },
        byValue: { value: this.look === "value" ? 1 : 0 },
      },
    });
    const points = new THREE.Points(geometry, material);
    points.frustumCulled = false;
    points.raycast = () => {};
    this.shown.set(node.id, { points, material, count: n, used: performance.now(), node });
    this.group.add(points);
  }

  drop(id) {
    const have = this.shown.get(id);
    if (!have) return;
    have.points.geometry.dispose();
    have.material.dispose();
    have.points.removeFromParent();
    this.shown.delete(id);
  }

  /** The point that is seen at a place, within a few px; of several the one in front. */
  pick(caster) {
    const ray = caster.ray, focal = this.stage.focal().fx, p = new THREE.Vector3(), reach = 6 / focal;
    let best = null;
    for (const { points, node } of this.shown.values()) {
      if (!points.visible) continue;
      const away = node.box.distanceToPoint(ray.origin) + node.box.getSize(p).length();
      if (!ray.intersectsBox(node.box.clone().expandByScalar(reach * away))) continue;
      const xyz = points.geometry.attributes.position.array;
      for (let i = 0; i < xyz.length; i += 3) {
        p.set(xyz[i] - ray.origin.x, xyz[i + 1] - ray.origin.y, xyz[i + 2] - ray.origin.z);
        const along = p.dot(ray.direction);
        if (along <= 0) continue;
        const off = Math.sqrt(Math.max(p.lengthSq() - along * along, 0)) / along;
        if (off > reach) continue;
        const score = along * (1 + 4 * off);
        if (best && score >= best.score) continue;
        const point = p.add(ray.origin).clone();
        if (this.stage.planes.every((plane) => plane.distanceToPoint(point) >= 0)) best = { score, point, distance: along };
      }
    }
    return best;
  }

  dispose() {
    for (const stop of this.waiting.values()) stop.abort();
    for (const id of [...this.shown.keys()]) this.drop(id);
    this.group.removeFromParent();
  }
}
