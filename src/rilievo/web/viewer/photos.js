// Cameras as frustums; standing in one of them, with its photo or depth map laid over.

import * as THREE from "three";

const LINES = [0, 1, 0, 2, 0, 3, 0, 4, 1, 2, 2, 3, 3, 4, 4, 1];

export class Photos extends EventTarget {
  constructor(stage, overlay) {
    super();
    Object.assign(this, { stage, overlay, list: [], at: null, opacity: 0.5, what: "photo", on: false });
    this.group = new THREE.Group();
    this.group.visible = false;
    stage.scene.add(this.group);
    stage.addEventListener("leave", () => this.leave());
    stage.addEventListener("resize", () => this.place());
    overlay.addEventListener("error", () => {
      if (overlay.hasAttribute("src")) this.dispatchEvent(new Event("nophoto"));
    });
    overlay.addEventListener("load", () => { overlay.hidden = this.at === null; });
  }

  sync(list) {
    const grown = list.length !== this.list.length || list.some((p, k) => p.placed !== this.list[k].placed);
    this.list = list;
    if (grown || !this.group.children.length) this.build();
    this.dispatchEvent(new Event("change"));
  }

  placed() {
    return this.list.map((p, k) => k).filter((k) => this.list[k].placed);
  }

  /** Position and directions of a photo, in the scene. */
  pose(k) {
    const c = this.list[k].cam_from_world;
    const m = new THREE.Matrix4().set(...c, 0, 0, 0, 1).invert();
    return m;
  }

  build() {
    for (const child of this.group.children) child.geometry.dispose();
    this.group.clear();
    const at = this.placed(), size = 0.07 * this.stage.radius, xyz = [], p = new THREE.Vector3();
    this.centers = new Map();
    for (const k of at) {
      const { K: [fx, fy, cx, cy], width, height } = this.list[k], m = this.pose(k);
      const corners = [[0, 0, 0], ...[[0, 0], [width, 0], [width, height], [0, height]].map(([x, y]) =>
        [((x - cx) / fx) * size, ((y - cy) / fy) * size, size])];
      const world = corners.map((c) => p.set(...c).applyMatrix4(m).toArray());
      this.centers.set(k, new THREE.Vector3(...world[0]).lerp(new THREE.Vector3(...world[1]).lerp(new THREE.Vector3(...world[3]), 0.5), 0.5));
      for (const i of LINES) xyz.push(...world[i]);
    }
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.Float32BufferAttribute(xyz, 3));
    const lines = new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color: 0xf0b35a, transparent: true, opacity: 0.8 }));
    lines.frustumCulled = false;
    this.group.add(lines);
  }

  show(on) {
    this.on = on;
    this.group.visible = on && this.at === null;
    this.stage.invalidate();
  }

  /** The camera at a place of the stage, or null. */
  pick(x, y) {
    if (!this.on || this.at !== null) return null;
    let best = null, reach = 14;
    for (const [k, center] of this.centers ?? []) {
      const seen = this.stage.see(center), off = Math.hypot(seen.x - x, seen.y - y);
      if (seen.depth > 0 && off < reach) [best, reach] = [k, off];
    }
    return best;
  }

  /** Where the photo lies on the stage, and its intrinsics there. */
  layout(W, H, photo) {
    const s = Math.min(W / photo.width, H / photo.height), w = s * photo.width, h = s * photo.height;
    const x = (W - w) / 2, y = (H - h) / 2, [fx, fy, cx, cy] = photo.K;
    return { x, y, w, h, fx: fx * s, fy: fy * s, cx: x + cx * s, cy: y + cy * s };
  }

  stand(k, fly = true) {
    const photo = this.list[k];
    if (!photo?.placed) return;
    this.stage.setParallel(false);
    const m = this.pose(k), position = new THREE.Vector3().setFromMatrixPosition(m);
    const rotation = new THREE.Matrix4().extractRotation(m).multiply(new THREE.Matrix4().makeScale(1, -1, -1));
    const ahead = new THREE.Vector3(0, 0, 1).transformDirection(m);
    const away = Math.max(this.stage.center.clone().sub(position).dot(ahead), 0.05 * this.stage.radius);
    this.at = k;
    this.group.visible = false;
    this.stage.goTo(position, new THREE.Quaternion().setFromRotationMatrix(rotation), position.clone().addScaledVector(ahead, away), fly);
    this.stage.intrinsics = (W, H) => this.layout(W, H, photo);
    this.picture();
    this.dispatchEvent(new Event("change"));
  }

  picture() {
    if (this.at === null) return;
    const photo = this.list[this.at], over = this.what !== "photo" && photo[this.what];
    const source = over || photo.url;
    if (this.overlay.getAttribute("src") !== source) {
      this.overlay.hidden = true;
      if (source) this.overlay.src = source;
    }
    this.overlay.alt = over ? `${this.what} of ${photo.name}` : photo.name;
    this.place();
  }

  place() {
    if (this.at === null) return;
    const { x, y, w, h } = this.layout(this.stage.width, this.stage.height, this.list[this.at]);
    Object.assign(this.overlay.style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px`, opacity: this.opacity });
    this.rect = { x, y, w, h };
  }

  step(by) {
    const at = this.placed();
    if (!at.length) return;
    const now = this.at === null ? (by > 0 ? -1 : 0) : at.indexOf(this.at);
    this.stand(at[(now + by + at.length) % at.length]);
  }

  leave() {
    if (this.at === null) return;
    this.at = null;
    this.stage.intrinsics = null;
    this.overlay.hidden = true;
    this.overlay.removeAttribute("src");
    this.group.visible = this.on;
    this.stage.invalidate();
    this.dispatchEvent(new Event("change"));
  }

  /** From where the model was looked at, horizontally: null where from all around. */
  front(up, center, radius) {
    const sum = new THREE.Vector3(), at = this.placed();
    if (!at.length) return null;
    for (const k of at) sum.add(new THREE.Vector3().setFromMatrixPosition(this.pose(k)).sub(center));
    sum.multiplyScalar(1 / at.length);
    sum.addScaledVector(up, -sum.dot(up));
    return sum.length() < 0.2 * radius ? null : sum.normalize();
  }
}
