// The picture: renderer, camera, what is drawn when. Nothing is drawn while nothing changes.
// The camera is given by intrinsics in CSS px of the stage (fx fy cx cy) and a three camera, so that photos fit exactly.

import * as THREE from "three";

const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;
const MOVING_SCALE = 0.6; // resolution of moving pictures where the CPU draws
const FOV = (50 * Math.PI) / 180;
const PARALLEL = 200; // so much further away, and so much longer the lens: lines that are parallel stay so on the screen
export const BACKGROUNDS = { Dark: "#161618", Black: "#000000", Grey: "#77777a", White: "#ffffff" };

/** What draws WebGL here; "none" without it. */
function drawnBy() {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return "none";
  const told = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return name;
}

export class Stage extends EventTarget {
  constructor(box) {
    super();
    this.box = box;
    this.frames = box.querySelector("#frames"); // pictures that the server draws, below
    this.marks = box.querySelector("#marks"); // lines and words, above
    this.camera = new THREE.PerspectiveCamera();
    this.camera.matrixAutoUpdate = true;
    this.scene = new THREE.Scene();
    this.renderer = null;
    this.intrinsics = null; // of a photo; null: the usual view
    this.reach = 1; // of the lens: how many times longer than usual
    this.up = new THREE.Vector3(0, 0, 1);
    this.pivot = new THREE.Vector3();
    this.center = new THREE.Vector3();
    this.radius = 1;
    this.background = "Dark";
    this.views = [{ from: 0, to: 1, show: null }]; // parts of the width; show: makes visible what belongs there
    this.painters = []; // (context, project) => draws marks
    this.tickers = []; // (now, moving) => true to be called again at the next frame
    this.below = () => []; // pictures below: {canvas, from, to}
    this.planes = []; // clipping, for all materials
    this.moved = -1e9;
    this._wanted = false;
    this._tween = null;
    this.gl = drawnBy();
    this.software = this.gl === "none" || SOFTWARE.test(this.gl);
    this.coarse = 1; // resolution, where the CPU draws
    try {
      if (this.gl === "none") throw new Error("no WebGL");
      this.renderer = new THREE.WebGLRenderer({
        canvas: box.querySelector("#gl"), antialias: !this.software, alpha: true, powerPreference: "high-performance",
      });
      this.renderer.localClippingEnabled = true;
      this.renderer.autoClear = false;
      this.renderer.setClearColor(0x000000, 0);
    } catch {
      this.renderer = null; // the page says so; photos and pictures from the server are still there
    }
    this.light = new THREE.DirectionalLight(0xffffff, 2.1);
    this.light.position.set(0.3, 0.4, 1);
    this.camera.add(this.light, this.light.target);
    this.light.target.position.set(0, 0, -1);
    this.scene.add(this.camera, new THREE.HemisphereLight(0xffffff, 0x505058, 1.1));
    new ResizeObserver(() => this.resize()).observe(box);
    this.resize();
  }

  get pixelRatio() {
    return this.software ? this.coarse : Math.min(window.devicePixelRatio || 1, 2);
  }

  resize() {
    this.width = Math.max(this.box.clientWidth, 16);
    this.height = Math.max(this.box.clientHeight, 16);
    const ratio = this.pixelRatio;
    if (this.renderer) {
      this.renderer.setPixelRatio(ratio);
      this.renderer.setSize(this.width, this.height, false);
    }
    const sharp = window.devicePixelRatio || 1;
    this.marks.width = Math.round(this.width * sharp);
    this.marks.height = Math.round(this.height * sharp);
    this.dispatchEvent(new Event("resize"));
    this.invalidate();
  }

  /** fx fy cx cy in CSS px. */
  focal() {
    if (this.intrinsics) return this.intrinsics(this.width, this.height);
    const f = (0.5 * this.reach * Math.min(this.height, this.width)) / Math.tan(FOV / 2);
    return { fx: f, fy: f, cx: this.width / 2, cy: this.height / 2 };
  }

  _project() {
    const { fx, fy, cx, cy } = this.focal();
    const eye = this.camera.position.distanceTo(this.center);
    const near = Math.max((eye - 4 * this.radius) * 0.5, eye * 2e-3, this.radius * 1e-4), far = eye + 40 * this.radius;
    const W = this.width, H = this.height;
    this.camera.near = near;
    this.camera.far = far;
    this.camera.projectionMatrix.makePerspective(
      (-cx / fx) * near, ((W - cx) / fx) * near, (cy / fy) * near, (-(H - cy) / fy) * near, near, far);
    this.camera.projectionMatrixInverse.copy(this.camera.projectionMatrix).invert();
    this.camera.updateMatrixWorld();
  }

  /** Where a point is seen: {x, y, depth} in CSS px; depth below 0: behind. */
  see(point) {
    const p = new THREE.Vector3().copy(point).applyMatrix4(this.camera.matrixWorldInverse);
    const { fx, fy, cx, cy } = this.focal();
    return { x: cx + (fx * p.x) / -p.z, y: cy - (fy * p.y) / -p.z, depth: -p.z };
  }

  /** The ray behind a place of the stage. */
  ray(x, y) {
    this._project();
    const { fx, fy, cx, cy } = this.focal();
    const direction = new THREE.Vector3((x - cx) / fx, -(y - cy) / fy, -1).applyQuaternion(this.camera.quaternion);
    return new THREE.Ray(this.camera.position.clone(), direction.normalize());
  }

  /** World length of one CSS px at a point. */
  pixelAt(point) {
    const depth = Math.max(this.see(point).depth, 1e-9);
    return depth / this.focal().fx;
  }

  invalidate() {
    if (this._wanted) return;
    this._wanted = true;
    requestAnimationFrame((now) => this._frame(now));
  }

  /** The camera has moved under the user's hand: photos are left, drawing may be coarse for a while. */
  move() {
    this.moved = performance.now();
    this._tween = null;
    if (this.intrinsics) {
      this.intrinsics = null;
      this.dispatchEvent(new Event("leave"));
    }
    this.dispatchEvent(new Event("move"));
    clearTimeout(this._rest);
    this._rest = setTimeout(() => {
      this.dispatchEvent(new Event("rest"));
      this.invalidate();
    }, this.restMs + 10);
    this.invalidate();
  }

  /** Until the picture is drawn fine again. In mid-drag a fine picture of a large scene, where the CPU draws, would come
   * between two movements and hold up the next one. */
  get restMs() {
    return this.held && this.software ? 900 : 170;
  }

  get moving() {
    return performance.now() - this.moved < this.restMs;
  }

  _frame(now) {
    this._wanted = false;
    const coarse = this.moving ? MOVING_SCALE : 1;
    if (this.software && this.renderer && coarse !== this.coarse) {
      this.coarse = coarse;
      this.renderer.setPixelRatio(coarse);
    }
    if (this._tween) this._step(now);
    this._project();
    let again = false;
    for (const ticker of this.tickers) again = ticker(now, this.moving) || again;
    this.draw();
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
    if (again || this._tween) this.invalidate();
  }

  draw() {
    this._project();
    if (this.renderer) {
      this.renderer.setScissorTest(false);
      this.renderer.clear();
      for (const { from, to, show } of this.views) {
        show?.();
        if (this.views.length > 1) {
          this.renderer.setScissorTest(true);
          this.renderer.setScissor(from * this.width, 0, (to - from) * this.width, this.height);
        }
        this.renderer.render(this.scene, this.camera);
      }
    }
    const context = this.marks.getContext("2d"), sharp = this.marks.width / this.width;
    context.setTransform(sharp, 0, 0, sharp, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    for (const paint of this.painters) paint(context, this);
  }

  /** PNG of what is seen. */
  async screenshot(photo) {
    const out = document.createElement("canvas");
    const gl = this.renderer?.domElement ?? this.marks;
    out.width = gl.width;
    out.height = gl.height;
    const context = out.getContext("2d");
    context.fillStyle = BACKGROUNDS[this.background];
    context.fillRect(0, 0, out.width, out.height);
    this.draw();
    for (const { canvas, from, to } of this.below()) {
      context.save();
      context.beginPath();
      context.rect(from * out.width, 0, (to - from) * out.width, out.height);
      context.clip();
      context.drawImage(canvas, 0, 0, out.width, out.height);
      context.restore();
    }
    if (this.renderer) context.drawImage(gl, 0, 0);
    if (photo) {
      const k = out.width / this.width;
      context.globalAlpha = photo.opacity;
      context.drawImage(photo.image, photo.x * k, photo.y * k, photo.w * k, photo.h * k);
      context.globalAlpha = 1;
    }
    context.drawImage(this.marks, 0, 0, out.width, out.height);
    return new Promise((done) => out.toBlob(done, "image/png"));
  }

  get backgroundColor() {
    return BACKGROUNDS[this.background];
  }

  setBackground(name) {
    this.background = name;
    this.box.style.background = BACKGROUNDS[name];
    this.box.classList.toggle("light", name === "White");
    this.invalidate();
  }

  // --- where the camera is ---

  /** Looks from an eye at a target, at once or in a short flight. */
  look(eye, target, { up = this.up, fly = true } = {}) {
    const m = new THREE.Matrix4().lookAt(eye, target, up);
    this.goTo(eye, new THREE.Quaternion().setFromRotationMatrix(m), target, fly);
  }

  goTo(position, quaternion, pivot, fly = true) {
    const to = { position: position.clone(), quaternion: quaternion.clone(), pivot: pivot.clone() };
    if (!fly || matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this._tween = null;
      this._arrive(to);
    } else {
      this._tween = { to, start: performance.now(), from: {
        position: this.camera.position.clone(), quaternion: this.camera.quaternion.clone(), pivot: this.pivot.clone() } };
    }
    this.moved = performance.now();
    clearTimeout(this._rest);
    this._rest = setTimeout(() => { this.dispatchEvent(new Event("rest")); this.invalidate(); }, fly ? 520 : 60);
    this.invalidate();
  }

  _arrive(to) {
    this.camera.position.copy(to.position);
    this.camera.quaternion.copy(to.quaternion);
    this.pivot.copy(to.pivot);
    this.camera.updateMatrixWorld();
    this.dispatchEvent(new Event("move"));
  }

  _step(now) {
    const { from, to, start } = this._tween, t = Math.min(Math.max((now - start) / 350, 0), 1), k = t * t * (3 - 2 * t);
    this.moved = performance.now();
    this._arrive({
      position: from.position.clone().lerp(to.position, k),
      quaternion: from.quaternion.clone().slerp(to.quaternion, k),
      pivot: from.pivot.clone().lerp(to.pivot, k),
    });
    if (t >= 1) this._tween = null;
  }

  get parallel() {
    return this.reach > 1;
  }

  /** Without perspective, or with it again; what is looked at keeps its size. */
  setParallel(on) {
    if (on === this.parallel) return;
    const reach = on ? PARALLEL : 1;
    this.camera.position.sub(this.pivot).multiplyScalar(reach / this.reach).add(this.pivot);
    this.reach = reach;
    this.camera.updateMatrixWorld();
    this.move();
    this.dispatchEvent(new Event("parallel"));
  }

  /** Home, top, front, side. front: a horizontal unit vector from the model to where it is looked at from. */
  view(name, front, fly = true) {
    this.intrinsics = null;
    this.dispatchEvent(new Event("leave"));
    const side = new THREE.Vector3().crossVectors(this.up, front).normalize();
    const away = {
      home: front.clone().addScaledVector(side, 0.35).addScaledVector(this.up, 0.5),
      front, side, top: this.up, back: front.clone().negate(),
    }[name].clone().normalize();
    const { fx } = this.focal();
    const half = Math.min(this.width, this.height) / 2;
    const distance = (this.radius * fx) / half * 1.12;
    const up = name === "top" ? front.clone().negate() : this.up;
    this.look(this.center.clone().addScaledVector(away, distance), this.center.clone(), { up, fly });
  }
}
