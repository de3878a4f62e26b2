// All layers of the scene: made from the manifest, kept while it grows, shown, picked.

import * as THREE from "three";
import { CloudLayer } from "./layer_cloud.js";
import { HoleLayer, InferredLayer, MeshLayer } from "./layer_mesh.js";
import { SplatLayer } from "./layer_splats.js";

const KINDS = { mesh: MeshLayer, cloud: CloudLayer, sparse: CloudLayer, splats: SplatLayer, inferred: InferredLayer, holes: HoleLayer };

export class Layers extends EventTarget {
  constructor(stage) {
    super();
    this.stage = stage;
    this.all = new Map();
    this.compare = null; // {left, right, split}: keys of `sides`
    stage.views = [{ from: 0, to: 1, show: () => this._show((layer) => layer.on) }];
    stage.below = () => [...this.all.values()].filter((l) => l.canvas && !l.canvas.hidden)
      .map(({ canvas, span }) => ({ canvas, from: span[0], to: span[1] }));
    stage.tickers.push((now, moving) => {
      let again = false;
      for (const layer of this.all.values()) if (layer.active) again = layer.tick(moving) || again;
      const ready = [...this.all.values()].filter((l) => l.active && l.ready).map((l) => l.entry.id).join();
      if (ready !== this._ready) {
        this._ready = ready;
        this.dispatchEvent(new Event("ready"));
      }
      for (const layer of this.all.values()) if (layer.canvas) layer.canvas.hidden = !(layer.active && layer.streamed && layer.ready);
      return again;
    });
  }

  /** Takes a manifest's layers; those that are there keep what the user chose. */
  sync(entries) {
    const ids = new Set(entries.map((e) => e.id));
    for (const [id, layer] of this.all)
      if (!ids.has(id)) {
        layer.dispose();
        this.all.delete(id);
      }
    for (const entry of entries) {
      const have = this.all.get(entry.id);
      if (have) {
        have.update(entry);
        continue;
      }
      const Kind = KINDS[entry.kind];
      if (!Kind) continue;
      const layer = new Kind(this.stage, entry);
      layer.group.userData.layer = layer;
      layer.on = Boolean(entry.visible);
      this.stage.scene.add(layer.group);
      this.all.set(entry.id, layer);
    }
    const order = entries.map((e) => e.id);
    this.all = new Map([...this.all].sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0])));
    this.apply();
  }

  set(id, on) {
    this.all.get(id).on = on;
    this.apply();
  }

  /** Loads what is on, draws anew. */
  apply() {
    const stage = this.stage;
    if (this.compare) {
      const { left, right, split } = this.compare, on = { left: this._side(left), right: this._side(right) };
      stage.views = [
        { from: 0, to: split, show: () => this._show(on.left) },
        { from: split, to: 1, show: () => this._show(on.right) },
      ];
      for (const layer of this.all.values()) layer.active = on.left(layer) || on.right(layer);
      const splats = [...this.all.values()].filter((l) => l.canvas && l.active);
      for (const layer of splats) {
        layer.apart = splats.length > 1;
        layer.span = [on.left(layer) ? 0 : split, on.right(layer) ? 1 : split];
      }
    } else {
      stage.views = [{ from: 0, to: 1, show: () => this._show((layer) => layer.on) }];
      for (const layer of this.all.values()) Object.assign(layer, { active: layer.on, apart: false, span: [0, 1] });
    }
    for (const { canvas, span } of this.all.values())
      if (canvas && span) canvas.style.clipPath = `inset(0 ${100 * (1 - span[1])}% 0 ${100 * span[0]}%)`;
    for (const layer of this.all.values())
      if (layer.active) {
        layer.load().then(
          () => this.dispatchEvent(new Event("change")),
          (error) => {
            layer.error = error;
            this.dispatchEvent(Object.assign(new Event("trouble"), { error }));
          });
      }
    stage.invalidate();
    this.dispatchEvent(new Event("change"));
  }

  _show(on) {
    let spark = false;
    for (const layer of this.all.values()) {
      layer.group.visible = on(layer) && !layer.streamed;
      spark ||= Boolean(layer.mesh) && layer.group.visible;
    }
    if (this.stage.spark) this.stage.spark.visible = spark;
  }

  _side(key) {
    const [kind, name] = key.split(":");
    if (kind === "house") return (layer) => String(layer.entry.house) === name && (layer.on || layer.entry.visible);
    return (layer) => layer.entry.id === name;
  }

  /** What may be put on the sides of a comparison: [key, name]. */
  sides(houses) {
    const layers = [...this.all.values()].map((l) => [`layer:${l.entry.id}`, l.entry.name]);
    return houses.length > 1 ? [...houses.map((h, k) => [`house:${k}`, h.title]), ...layers] : layers;
  }

  get anything() {
    return [...this.all.values()].some((l) => l.active && l.ready);
  }

  /** The place on what is seen behind a place of the stage: {point, distance, layer} or null. */
  pick(x, y) {
    const ray = this.stage.ray(x, y);
    const caster = new THREE.Raycaster(ray.origin, ray.direction);
    const among = (layers) => {
      let best = null;
      for (const layer of layers) {
        const hit = layer.pick(caster);
        if (hit && (!best || hit.distance < best.distance)) best = { point: hit.point.clone(), distance: hit.distance, layer };
      }
      return best;
    };
    const seen = [...this.all.values()].filter((l) => l.active);
    const hidden = [...this.all.values()].filter((l) => !l.active && l.ready && l.entry.kind === "mesh");
    return among(seen) ?? among(hidden);
  }

  /** A surface to measure on where only splats are seen. */
  wantSurface() {
    const all = [...this.all.values()], solid = (l) => ["mesh", "cloud"].includes(l.entry.kind);
    if (all.some((l) => l.active && solid(l))) return;
    all.find((l) => l.entry.kind === "mesh")?.load().catch(() => {});
  }
}
