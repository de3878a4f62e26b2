// Hands on the picture, with the habits of other 3D programs: drag turns about what is under the pointer's model,
// right, middle or Shift drag moves, the wheel comes nearer to what is under the pointer, W A S D Q E fly; one finger
// turns, two move and pinch. A click that did not move goes to `click(x, y)`.

import * as THREE from "three";

const FLY = { KeyW: [0, 0, -1], KeyS: [0, 0, 1], KeyA: [-1, 0, 0], KeyD: [1, 0, 0], KeyQ: [0, -1, 0], KeyE: [0, 1, 0] };
const CLICK_PX = 5, WHEEL_MS = 250;

export class Controls {
  /** pick(x, y): the point there or null. */
  constructor(stage, { pick, click, focus, drag }) {
    Object.assign(this, { stage, pick, click, focus, drag });
    this.pointers = new Map();
    this.held = new Set();
    this.flying = 0;
    this.around = null; // what a drag turns about; null: the pivot
    this.wheeled = { when: -1e9, x: 0, y: 0 };
    const box = stage.box;
    box.addEventListener("pointerdown", (e) => this.down(e));
    box.addEventListener("pointermove", (e) => this.moves(e));
    for (const kind of ["pointerup", "pointercancel"]) box.addEventListener(kind, (e) => this.lift(e, kind === "pointerup"));
    box.addEventListener("contextmenu", (e) => e.preventDefault());
    box.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    box.addEventListener("dblclick", (e) => this.double(e));
    window.addEventListener("keydown", (e) => this.key(e, true));
    window.addEventListener("keyup", (e) => this.key(e, false));
    window.addEventListener("blur", () => this.held.clear());
    stage.tickers.push((now) => this.fly(now));
  }

  at(e) {
    const box = this.stage.box.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  }

  ours(e) {
    return e.target === this.stage.box || e.target.matches?.("canvas, #overlay");
  }

  down(e) {
    if (!this.ours(e)) return;
    const [x, y] = this.at(e);
    this.stage.box.setPointerCapture(e.pointerId);
    this.stage.box.focus({ preventScroll: true, focusVisible: false }); // no ring for a pointer
    const shifts = e.button === 1 || e.button === 2 || e.shiftKey;
    if (e.button === 1) e.preventDefault();
    this.stage.held = true;
    this.pointers.set(e.pointerId, { x, y, x0: x, y0: y, shifts, button: e.button, still: this.pointers.size === 0 });
    if (this.pointers.size > 1) for (const p of this.pointers.values()) p.still = false;
    this.dragging = this.pointers.size === 1 && e.button === 0 && this.drag ? this.drag(x, y) : null;
  }

  moves(e) {
    const p = this.pointers.get(e.pointerId);
    if (!p) return;
    const [x, y] = this.at(e), dx = x - p.x, dy = y - p.y;
    if (!dx && !dy) return;
    if (p.still && Math.hypot(x - p.x0, y - p.y0) < CLICK_PX) return;
    if (p.still && !this.dragging) this.around = this.grab(p.x0, p.y0);
    p.still = false;
    if (this.dragging) {
      this.dragging(x, y);
    } else if (this.pointers.size === 2) { // half of the way of the middle; the spread by this finger
      const other = [...this.pointers].find(([id]) => id !== e.pointerId)[1];
      const before = Math.hypot(p.x - other.x, p.y - other.y), after = Math.hypot(x - other.x, y - other.y);
      this.shift(dx / 2, dy / 2);
      if (before > 8 && after > 8) this.dolly(before / after);
    } else if (this.pointers.size === 1) {
      if (p.shifts) this.shift(dx, dy);
      else this.orbit(dx, dy);
    }
    p.x = x;
    p.y = y;
  }

  lift(e, ended) {
    const p = this.pointers.get(e.pointerId);
    if (!p) return;
    this.pointers.delete(e.pointerId);
    this.dragging = null;
    if (!this.pointers.size) {
      this.around = null;
      this.stage.held = false;
      this.stage.invalidate();
    }
    if (ended && p.still && p.button === 0 && !this.pointers.size) this.click?.(p.x0, p.y0, e);
  }

  /** The point at a place of the stage, or null. The pivot comes to its depth: there the model moves with the hand. */
  grab(x, y) {
    const { camera, pivot } = this.stage, point = this.pick(x, y);
    if (!point) return null;
    const ahead = new THREE.Vector3(0, 0, -1).applyQuaternion(camera.quaternion);
    pivot.copy(camera.position).addScaledVector(ahead, point.clone().sub(camera.position).dot(ahead));
    return point;
  }

  double(e) {
    if (!this.ours(e)) return;
    const point = this.pick(...this.at(e));
    if (point && this.focus?.(e) !== false) this.center(point);
  }

  /** Looks straight at a point, which becomes what the view turns about. */
  center(point) {
    const { camera, up } = this.stage, away = camera.position.clone().sub(this.stage.pivot);
    const distance = Math.min(away.length(), camera.position.distanceTo(point));
    const eye = point.clone().addScaledVector(away.normalize(), Math.max(distance * 0.7, this.stage.radius * this.stage.reach * 0.02));
    if (this.stage.intrinsics) this.stage.move();
    this.stage.look(eye, point, { up: Math.abs(away.dot(up)) > 0.999 ? camera.up : up });
  }

  wheel(e) {
    if (!this.ours(e)) return;
    e.preventDefault();
    const px = e.deltaY * (e.deltaMode === 1 ? 30 : e.deltaMode === 2 ? 400 : 1);
    const factor = Math.exp(Math.min(Math.max(px, -400), 400) * (e.ctrlKey ? 0.008 : 0.0015));
    const [x, y] = this.at(e), last = this.wheeled, when = performance.now();
    if (when - last.when > WHEEL_MS || Math.hypot(x - last.x, y - last.y) > CLICK_PX) this.grab(x, y);
    this.wheeled = { when, x, y };
    this.dolly(factor, [x, y]);
  }

  orbit(dx, dy) {
    const { camera, pivot, up } = this.stage, k = 0.0075;
    const right = new THREE.Vector3(1, 0, 0).applyQuaternion(camera.quaternion);
    const back = new THREE.Vector3(0, 0, 1).applyQuaternion(camera.quaternion);
    const tilt = Math.acos(Math.min(Math.max(back.dot(up), -1), 1)); // 0: from above
    const wanted = Math.min(Math.max(tilt - dy * k, 0.001), Math.PI - 0.001);
    const turn = new THREE.Quaternion().setFromAxisAngle(up, -dx * k);
    turn.multiply(new THREE.Quaternion().setFromAxisAngle(right, wanted - tilt));
    const around = this.around ?? pivot;
    camera.position.sub(around).applyQuaternion(turn).add(around);
    if (this.around) pivot.sub(around).applyQuaternion(turn).add(around);
    camera.quaternion.premultiply(turn).normalize();
    this.level();
    this.stage.move();
  }

  /** The horizon stays straight: right is at a right angle to up. */
  level() {
    const { camera, up } = this.stage;
    const back = new THREE.Vector3(0, 0, 1).applyQuaternion(camera.quaternion);
    const right = new THREE.Vector3().crossVectors(up, back);
    if (right.length() < 1e-3) return;
    right.normalize();
    const now = new THREE.Vector3(1, 0, 0).applyQuaternion(camera.quaternion);
    if (right.dot(now) < -0.999) return;
    camera.quaternion.premultiply(new THREE.Quaternion().setFromUnitVectors(now, right)).normalize();
  }

  distance() {
    return Math.max(this.stage.camera.position.distanceTo(this.stage.pivot), this.stage.radius * 1e-4);
  }

  shift(dx, dy) {
    const { camera, pivot } = this.stage, k = this.distance() / this.stage.focal().fx;
    const by = new THREE.Vector3(-dx * k, dy * k, 0).applyQuaternion(camera.quaternion);
    camera.position.add(by);
    pivot.add(by);
    this.stage.move();
  }

  /** Nearer (factor below 1) or further; what is seen at `at` stays there. */
  dolly(factor, at = null) {
    const { camera, pivot, radius } = this.stage;
    const distance = this.distance(), size = radius * this.stage.reach;
    const next = Math.min(Math.max(distance * factor, size * 2e-3), size * 60);
    const ahead = new THREE.Vector3(0, 0, -1).applyQuaternion(camera.quaternion);
    let toward = ahead.clone();
    if (at) {
      const ray = this.stage.ray(...at);
      toward = ray.direction.multiplyScalar(1 / Math.max(ray.direction.dot(ahead), 0.2));
    }
    camera.position.addScaledVector(toward, distance - next);
    pivot.copy(camera.position).addScaledVector(ahead, next);
    this.stage.move();
  }

  key(e, down) {
    if (!(e.code in FLY)) return;
    if (!down) {
      this.held.delete(e.code);
      return;
    }
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest?.("input, select, textarea, dialog")) return;
    this.held.add(e.code);
    this.stage.invalidate();
  }

  fly(now) {
    if (!this.held.size) {
      this.flying = 0;
      return false;
    }
    const seconds = Math.min((now - (this.flying || now)) / 1000, 0.1), by = new THREE.Vector3();
    this.flying = now;
    for (const code of this.held) by.add(new THREE.Vector3(...FLY[code]));
    if (by.lengthSq() && seconds) {
      by.normalize().multiplyScalar(Math.max(this.distance() / this.stage.reach, 0.1 * this.stage.radius) * 0.8 * seconds);
      by.applyQuaternion(this.stage.camera.quaternion);
      this.stage.camera.position.add(by);
      this.stage.pivot.add(by);
      this.stage.move();
    }
    return true;
  }
}
