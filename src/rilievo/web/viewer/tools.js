// Measures: points are picked here, values and their plus-minus are computed by the server; kept with the house.

import * as THREE from "three";
import * as data from "./data.js";
import { notice } from "./dom.js";

// least and most points, what to do next
export const TOOLS = {
  distance: { name: "Distance", points: [2, 2], hint: ["Click the first place", "Click the second place"] },
  path: { name: "Path", points: [2, 500], hint: ["Click along the path", "Click on; Enter or Done ends the path"] },
  height: { name: "Height", points: [2, 2], hint: ["Click the lower place", "Click the higher place"] },
  angle: { name: "Angle", points: [3, 3], hint: ["Click on the first side", "Click the corner", "Click on the second side"] },
  area: { name: "Area", points: [3, 500], hint: ["Click around the area", "Click on", "Click on; Enter or Done closes the area"] },
  volume: { name: "Volume", points: [3, 500], hint: ["Click around the foot of the volume", "Click on", "Click on; Enter or Done closes the foot"] },
  scale: { name: "Scale", points: [2, 2], hint: ["Click one end of a length that you know", "Click its other end"] },
  up: { name: "Up", points: [3, 3], hint: ["Click three places on the level ground", "Click a second place", "Click a third place"] },
  origin: { name: "Origin", points: [1, 1], hint: ["Click the place that is to be the origin"] },
};
export const MEASURES = ["distance", "path", "height", "angle", "area", "volume"];

export class Tools extends EventTarget {
  constructor(stage, layers) {
    super();
    Object.assign(this, { stage, layers, kind: null, points: [], house: 0, list: [], chosen: null, visible: true, busy: false });
    stage.painters.push((context) => this.paint(context));
  }

  changed() {
    this.stage.invalidate();
    this.dispatchEvent(new Event("change"));
  }

  start(kind) {
    this.kind = this.kind === kind ? null : kind;
    this.points = [];
    if (this.kind) this.layers.wantSurface();
    this.changed();
  }

  get hint() {
    if (!this.kind) return "";
    const { hint } = TOOLS[this.kind];
    return hint[Math.min(this.points.length, hint.length - 1)];
  }

  get endable() {
    const many = this.kind && TOOLS[this.kind].points;
    return Boolean(many) && many[1] > many[0] && this.points.length >= many[0];
  }

  /** A click on the stage; true when it was ours. */
  click(x, y) {
    if (!this.kind || this.busy) return Boolean(this.kind);
    const hit = this.layers.pick(x, y);
    if (!hit) {
      notice("There is no surface here");
      return true;
    }
    if (!this.points.length) this.house = hit.layer.entry.house;
    this.points.push(hit.point.toArray());
    if (this.points.length >= TOOLS[this.kind].points[1]) this.finish();
    else this.changed();
    return true;
  }

  back() {
    this.points.pop();
    this.changed();
  }

  cancel() {
    this.kind = null;
    this.points = [];
    this.changed();
  }

  async finish() {
    const kind = this.kind, points = this.points;
    if (!kind || points.length < TOOLS[kind].points[0]) return;
    this.points = [];
    if (kind === "scale" || kind === "up" || kind === "origin") {
      this.kind = null;
      this.changed();
      if (kind === "scale") this.dispatchEvent(Object.assign(new Event("scale"), { points, house: this.house }));
      else if (kind === "up") this.frame("up", { up: this.normal(points) });
      else this.frame("origin", { point: points[0] });
      return;
    }
    this.pending = points;
    this.busy = true;
    this.changed();
    try {
      const told = await data.post("measure", {
        id: Math.random().toString(36).slice(2, 12), name: this.freshName(kind), kind, points, house: this.house });
      this.list.push(told);
      this.chosen = told.id;
      await this.save();
    } catch (error) {
      notice(error);
    }
    this.pending = null;
    this.busy = false;
    this.changed();
  }

  freshName(kind) {
    const word = kind === "section" ? "Section" : TOOLS[kind].name, taken = new Set(this.list.map((m) => m.name));
    let k = 1;
    while (taken.has(`${word} ${k}`)) k += 1;
    return `${word} ${k}`;
  }

  normal(points) {
    const [a, b, c] = points.map((p) => new THREE.Vector3(...p));
    const n = b.sub(a).cross(c.sub(a)).normalize();
    if (n.dot(this.stage.up) < 0) n.negate();
    return n.toArray();
  }

  /** Keeps the measures with their houses. */
  async save() {
    const houses = new Set([...this.list.map((m) => m.house ?? 0), ...(this.saved ?? [])]);
    for (const house of houses) {
      const list = this.list.filter((m) => (m.house ?? 0) === house).map(({ lines, closed, ...m }) => m);
      const told = await data.post("measures", { house, list });
      this.kept = told.saved;
    }
    this.saved = houses;
  }

  async remove(id) {
    this.list = this.list.filter((m) => m.id !== id);
    this.changed();
    await this.save().catch(notice);
    this.changed();
  }

  async rename(id, name) {
    const one = this.list.find((m) => m.id === id);
    if (!one || !name.trim() || one.name === name.trim()) return;
    one.name = name.trim();
    await this.save().catch(notice);
    this.changed();
  }

  /** Scale, up or origin of a house; all measures are told anew. */
  async frame(place, body) {
    try {
      const told = await data.post(place, { house: this.house, ...body });
      this.dispatchEvent(Object.assign(new Event("frame"), { told, house: this.house }));
      const again = [];
      for (const m of this.list) {
        const one = await data.post("measure", { id: m.id, name: m.name, kind: m.kind, points: m.points, plane: m.plane, house: m.house ?? 0 });
        again.push(one);
      }
      this.list = again;
      if (again.length) await this.save();
      const what = { scale: "Scale", up: "Up", origin: "Origin" }[place];
      notice(told.saved ? `${what} is set and saved with the house` : `${what} is set until this viewer ends`);
    } catch (error) {
      notice(error);
    }
    this.changed();
  }

  async section(plane, house) {
    this.busy = true;
    this.changed();
    let told = null;
    try {
      told = await data.post("section", { id: Math.random().toString(36).slice(2, 12), name: this.freshName("section"), kind: "section", plane, house });
      this.list.push(told);
      this.chosen = told.id;
      await this.save();
    } catch (error) {
      notice(error);
    }
    this.busy = false;
    this.changed();
    return told;
  }

  paint(context) {
    this.labels = [];
    if (this.visible)
      for (const m of this.list)
        if (m.points) this.figure(context, m.kind, m.points, m.id === this.chosen, m.text);
    const now = this.pending ?? this.points;
    if (now.length) this.figure(context, this.kind ?? "path", now, true, "", !this.pending);
    for (const label of this.labels) this.words(context, label); // over all lines
  }

  figure(context, kind, points, strong, text, open = false) {
    const seen = points.map((p) => this.stage.see(new THREE.Vector3(...p)));
    if (seen.some((p) => p.depth <= 0)) return;
    const closed = (kind === "area" || kind === "volume" || kind === "up") && seen.length > 2;
    const trace = () => {
      context.beginPath();
      seen.forEach((p, i) => (i ? context.lineTo(p.x, p.y) : context.moveTo(p.x, p.y)));
      if (closed) context.closePath();
    };
    context.lineJoin = "round";
    trace();
    if (closed && !open) {
      context.fillStyle = "rgb(240 179 90 / 16%)";
      context.fill();
    }
    for (const [width, color] of [[strong ? 5 : 4, "rgb(0 0 0 / 60%)"], [strong ? 2.5 : 1.5, strong ? "#ffc878" : "#f2f2ef"]]) {
      context.lineWidth = width;
      context.strokeStyle = color;
      trace();
      context.stroke();
    }
    for (const p of seen) {
      context.beginPath();
      context.arc(p.x, p.y, 3.5, 0, 7);
      context.fillStyle = strong ? "#ffc878" : "#f2f2ef";
      context.fill();
      context.lineWidth = 1.5;
      context.strokeStyle = "rgb(0 0 0 / 75%)";
      context.stroke();
    }
    if (!text) return;
    const anchor = kind === "angle" ? seen[1]
      : { x: seen.reduce((s, p) => s + p.x, 0) / seen.length, y: seen.reduce((s, p) => s + p.y, 0) / seen.length };
    context.font = "600 13px system-ui, 'DejaVu Sans', sans-serif";
    const w = context.measureText(text).width + 14, x = Math.min(Math.max(anchor.x - w / 2, 4), Math.max(this.stage.width - w - 4, 4));
    let y = Math.min(Math.max(anchor.y - 30, 4), this.stage.height - 28);
    const covered = () => this.labels.some((l) => x < l.x + l.w + 4 && l.x < x + w + 4 && Math.abs(y - l.y) < 25);
    for (let k = 0; k < 20 && covered(); k += 1) y += 26;
    this.labels.push({ x, y, w, text, strong });
  }

  words(context, { x, y, w, text, strong }) {
    context.fillStyle = "rgb(17 17 19 / 88%)";
    context.beginPath();
    context.roundRect(x, y, w, 22, 6);
    context.fill();
    context.fillStyle = strong ? "#ffd9a0" : "#f2f2ef";
    context.fillText(text, x + 7, y + 15.5);
  }
}
