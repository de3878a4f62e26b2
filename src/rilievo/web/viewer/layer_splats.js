// Gaussian splats: Spark where a GPU draws; else pictures that the server draws, below all else that is shown.

import * as THREE from "three";
import * as data from "./data.js";

const TARGET_MS = 90; // for a picture of the server while the view moves
const client = Math.random().toString(36).slice(2, 12);
const forced = new URLSearchParams(location.search).get("splats"); // gpu or cpu, for trying

export class SplatLayer {
  constructor(stage, entry) {
    Object.assign(this, { stage, entry, group: new THREE.Group(), error: null, pictured: false, sorted: false, mesh: null });
    const can = stage.renderer !== null;
    this.cpu = Boolean(entry.stream) && (forced === "cpu" || !can || (stage.software && forced !== "gpu"));
    this.apart = false; // Spark draws all splats as one: of two that are compared, each is drawn by the server
    this.scale = 0.5;
    this.sent = this.drawn = 0;
    this.inFlight = 0;
    this.asked = "";
    this.wish = "";
    this.canvas = document.createElement("canvas");
    this.canvas.hidden = true;
    stage.frames.append(this.canvas);
  }

  get streamed() {
    return this.cpu || (this.apart && Boolean(this.entry.stream));
  }

  get ready() {
    return this.streamed ? this.pictured : this.sorted;
  }

  update(entry) {
    const same = entry.version === this.entry.version;
    this.entry = entry;
    if (same) return;
    this.asked = "";
    if (this.mesh) {
      this.mesh.removeFromParent();
      this.mesh.dispose?.();
      this.mesh = null;
      this.sorted = false;
      if (this.wanted) this.load(true);
    }
    this.stage.invalidate();
  }

  async load(again = false) {
    this.wanted = true;
    if (this.streamed || (this.loading && !again)) {
      this.stage.invalidate();
      return this.loading;
    }
    this.loading = this._load();
    return this.loading;
  }

  async _load() {
    if (!this.stage.renderer) throw new data.Trouble("splats cannot be drawn", "this browser has no WebGL", "try another browser");
    const { SparkRenderer, SplatMesh } = await import("@sparkjsdev/spark");
    if (!this.stage.spark) {
      this.stage.spark = new SparkRenderer({ renderer: this.stage.renderer, onDirty: () => this.stage.invalidate() });
      this.stage.scene.add(this.stage.spark);
    }
    const mesh = new SplatMesh({ fileBytes: new Uint8Array(await data.file(this.entry.url)), fileType: this.entry.format ?? "spz" });
    await mesh.initialized;
    new THREE.Matrix4().fromArray(this.entry.matrix).decompose(mesh.position, mesh.quaternion, mesh.scale);
    this.mesh = mesh;
    this.group.add(mesh);
    this.cutAs = "";
    this.stage.invalidate();
  }

  tick(moving) {
    if (!this.active || !this.wanted) return false;
    if (!this.streamed) {
      this.cut();
      if (this.mesh && this.stage.spark.display.numSplats > 0) this.sorted = true; // before, nothing is seen
      return this.mesh !== null && (!this.sorted || this.stage.spark.sorting);
    }
    this.pump(moving);
    return false;
  }

  /** What lies behind a plane of crop or section gets no opacity: Spark draws past three's own clipping. */
  async cut() {
    const { planes } = this.stage, as = JSON.stringify(planes);
    if (!this.mesh || (this.cutAs ?? "[]") === as) return;
    this.cutAs = as;
    const { SplatEdit, SplatEditSdf, SplatEditSdfType } = await import("@sparkjsdev/spark");
    if (this.cutAs !== as) return;
    this.edits?.removeFromParent();
    this.edits = new THREE.Group();
    for (const plane of planes) {
      const half = new SplatEditSdf({ type: SplatEditSdfType.PLANE, opacity: 0 }), edit = new SplatEdit();
      half.quaternion.setFromUnitVectors(new THREE.Vector3(0, 0, 1), plane.normal);
      plane.coplanarPoint(half.position);
      edit.add(half);
      this.edits.add(edit);
    }
    this.group.add(this.edits);
    this.edits.updateMatrixWorld(true);
    this.stage.invalidate();
  }

  query(scale, still) {
    const { width: W, height: H, camera } = this.stage, { fx, fy, cx, cy } = this.stage.focal();
    const w = Math.max(16, Math.round(W * scale)), h = Math.max(16, Math.round(H * scale)), kx = w / W, ky = h / H;
    // Camera axes of rilievo: x right, y down, z forward.
    const m = new THREE.Matrix4().makeScale(1, -1, -1).multiply(camera.matrixWorldInverse).elements;
    const rows = [0, 1, 2].flatMap((r) => [m[r], m[4 + r], m[8 + r], m[12 + r]]);
    return new URLSearchParams({
      c: client + this.entry.id, still: still ? 1 : 0, w, h, fx: fx * kx, fy: fy * ky, cx: cx * kx, cy: cy * ky, m: rows.join(","),
      bg: this.stage.backgroundColor.slice(1),
      planes: this.stage.planes.map(({ normal: n, constant }) => [n.x, n.y, n.z, constant].join(",")).join(";"),
    }).toString();
  }

  pump(moving) {
    const where = this.query(1, true);
    if (where === this.asked) return;
    if (moving) {
      if (this.inFlight < 2 && where !== this.wish) {
        this.wish = where;
        this.ask(Math.min(this.scale, 1), false);
      }
    } else if (this.inFlight === 0) {
      this.asked = where;
      this.ask(Math.min(1, Math.sqrt(2_000_000 / (this.stage.width * this.stage.height))), true);
    }
  }

  async ask(scale, still) {
    const number = (this.sent += 1), start = performance.now();
    this.inFlight += 1;
    try {
      const got = await data.blob(`${this.entry.stream}&${this.query(scale, still)}`);
      if (got) {
        const ms = Number(got.headers.get("X-Draw-Ms")) || performance.now() - start;
        if (!still) this.scale = Math.min(Math.max(this.scale * Math.min(Math.max(Math.sqrt(TARGET_MS / ms), 0.8), 1.15), 0.2), 1);
        const bitmap = await createImageBitmap(got.blob);
        if (number > this.drawn) {
          this.drawn = number;
          this.show(bitmap);
        }
        bitmap.close();
      } else if (still) {
        this.asked = "";
      }
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    this.inFlight -= 1;
    if (!this.error) this.stage.invalidate();
  }

  show(bitmap) {
    const canvas = this.canvas;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
    this.pictured = true;
    document.body.dataset.frames = String(Number(document.body.dataset.frames || 0) + 1);
  }

  pick() { return null; }

  dispose() {
    this.canvas.remove();
    this.wanted = false;
    this.mesh?.dispose?.();
    this.group.removeFromParent();
  }
}
