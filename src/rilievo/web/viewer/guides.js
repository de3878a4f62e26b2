// Grid and axes, crop box, section plane: what helps to see, none of it measured.

import * as THREE from "three";

/** 1, 2 or 5 times a power of ten, not above x. */
export function niceStep(x) {
  const power = 10 ** Math.floor(Math.log10(x));
  return [5, 2, 1].map((k) => k * power).find((s) => s <= x * 1.0001) ?? power;
}

export class Guides {
  constructor(stage) {
    Object.assign(this, { stage, grid: true, axes: true, crop: null, section: null });
    this.group = new THREE.Group();
    stage.scene.add(this.group);
    this.planeGroup = new THREE.Group();
    stage.scene.add(this.planeGroup);
  }

  /** bounds: of the scene.  origin: where the axes stand, null: in the middle of the ground.  scale: of lengths. */
  set({ up, center, radius, low, origin, scale }) {
    Object.assign(this, { up, center, radius, low, origin, scale });
    const u = Math.abs(up.x) < 0.9 && Math.abs(up.z) > 0.5 ? new THREE.Vector3(1, 0, 0) : new THREE.Vector3(0, 1, 0);
    this.right = u.addScaledVector(up, -u.dot(up)).normalize();
    this.ahead = new THREE.Vector3().crossVectors(up, this.right);
    this.build();
  }

  build() {
    for (const child of this.group.children) child.geometry?.dispose();
    this.group.clear();
    const { up, center, radius } = this;
    const at = this.origin ?? center.clone().addScaledVector(up, this.low - center.dot(up));
    this.step = niceStep((radius * this.scale) / 3) / this.scale;
    const basis = new THREE.Matrix4().makeBasis(this.right, up, this.ahead.clone().negate()).setPosition(at);
    if (this.grid) {
      const n = 2 * Math.ceil((1.6 * radius) / this.step), grid = new THREE.GridHelper(n * this.step, n, 0x6d6d70, 0x45454a);
      grid.material.transparent = true;
      grid.material.opacity = 0.55;
      grid.material.depthWrite = false;
      grid.applyMatrix4(basis);
      this.group.add(grid);
    }
    if (this.axes) {
      const axes = new THREE.AxesHelper(0.5 * radius);
      axes.setColors(new THREE.Color("#f2705f"), new THREE.Color("#8fd19e"), new THREE.Color("#6ea8ff"));
      axes.applyMatrix4(new THREE.Matrix4().makeBasis(this.right, this.ahead, up).setPosition(at));
      this.group.add(axes);
    }
    this.stage.invalidate();
  }

  extent(axis) {
    const middle = this.center.dot(axis), reach = 1.25 * this.radius;
    return [middle - reach, middle + reach];
  }

  /** Axis of a name. */
  axis(name) {
    return { up: this.up, side: this.right, front: this.ahead }[name];
  }

  /** Clipping planes of crop and section; materials hold the same array. crop: six shares of the extent. */
  clip() {
    const planes = [];
    if (this.crop)
      ["side", "front", "up"].forEach((name, k) => {
        const axis = this.axis(name), [lo, hi] = this.extent(axis), at = (t) => lo + (hi - lo) * t;
        planes.push(new THREE.Plane(axis.clone(), -at(this.crop[2 * k])));
        planes.push(new THREE.Plane(axis.clone().negate(), at(this.crop[2 * k + 1])));
      });
    this.planeGroup.clear();
    if (this.section) {
      const { point, normal } = this.sectionPlane(), sign = this.section.flip ? 1 : -1;
      planes.push(new THREE.Plane().setFromNormalAndCoplanarPoint(normal.clone().multiplyScalar(sign), point));
      const quad = new THREE.Mesh(new THREE.PlaneGeometry(2.4 * this.radius, 2.4 * this.radius), new THREE.MeshBasicMaterial({
        color: 0xf0b35a, transparent: true, opacity: 0.1, side: THREE.DoubleSide, depthWrite: false }));
      quad.quaternion.setFromUnitVectors(new THREE.Vector3(0, 0, 1), normal);
      quad.position.copy(this.center).addScaledVector(normal, point.dot(normal) - this.center.dot(normal));
      this.planeGroup.add(quad);
      if (this.section.lines) {
        const xyz = this.section.lines.flatMap((line) => line.slice(1).flatMap((p, i) => [...line[i], ...p]));
        const geometry = new THREE.BufferGeometry();
        geometry.setAttribute("position", new THREE.Float32BufferAttribute(xyz, 3));
        const lines = new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color: 0xffd9a0, depthTest: false }));
        lines.renderOrder = 5;
        this.planeGroup.add(lines);
      }
    }
    this.stage.planes.splice(0, this.stage.planes.length, ...planes);
    this.stage.invalidate();
  }

  sectionPlane() {
    const normal = this.axis(this.section.axis), [lo, hi] = this.extent(normal);
    return { point: this.center.clone().addScaledVector(normal, lo + (hi - lo) * this.section.at - this.center.dot(normal)), normal };
  }
}
