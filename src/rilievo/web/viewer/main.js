// Starts the viewer: reads the manifest, builds the page, keeps it up to date, binds keys and buttons.

import * as THREE from "three";
import * as data from "./data.js";
import { bindCompare } from "./compare.js";
import { Controls } from "./controls.js";
import { $, download, notice } from "./dom.js";
import { Guides } from "./guides.js";
import { Layers } from "./layers.js";
import { buildPage, message } from "./page.js";
import { aboutPanel, photosPanel } from "./panel_facts.js";
import { layersPanel } from "./panel_layers.js";
import { measurePanel } from "./panel_measure.js";
import { Photos } from "./photos.js";
import { Stage } from "./stage.js";
import { Tools } from "./tools.js";

const POLL_MS = 1000, POLL_IDLE_MS = 2500;

class Viewer extends EventTarget {
  constructor(scene) {
    super();
    this.scene = scene;
    const tabs = [{ id: "layers", name: "Layers" }];
    if (!data.shared || scene.measures.length) tabs.push({ id: "measure", name: "Measure" });
    if (!data.shared) tabs.push({ id: "photos", name: "Photos" });
    tabs.push({ id: "about", name: "About" });
    this.page = buildPage(tabs);
    this.stage = new Stage($("stage"));
    this.stage.setBackground("Dark");
    this.guides = new Guides(this.stage);
    this.layers = new Layers(this.stage);
    this.photos = new Photos(this.stage, $("overlay"));
    this.tools = new Tools(this.stage, this.layers);
    this.tools.list = scene.measures;
    this.controls = new Controls(this.stage, {
      pick: (x, y) => this.layers.pick(x, y)?.point ?? null,
      click: (x, y) => this.click(x, y),
      focus: () => !this.tools.kind,
    });
    this.layers.addEventListener("trouble", ({ error }) => notice(error));
    for (const kind of ["change", "ready"]) this.layers.addEventListener(kind, () => this.state());
    this.photos.addEventListener("nophoto", () => notice({ what: "The photo cannot be shown", why: "its file may be gone" }));
    this.photos.addEventListener("change", () => this.photobar());
    this.tools.addEventListener("change", () => this.toolbar());
    this.tools.addEventListener("frame", ({ told, house }) => {
      this.scene.houses[house].saved = told.frame;
      if (house === 0) this.scene.saved = told.frame;
      this.frame();
    });
    layersPanel(this, $("panel-layers"));
    if ($("panel-measure")) measurePanel(this, $("panel-measure"));
    if ($("panel-photos")) photosPanel(this, $("panel-photos"));
    aboutPanel(this, $("panel-about"));
    bindCompare(this);
    this.bind();
    this.apply(scene, true);
  }

  /** Takes a manifest. */
  apply(scene, first = false) {
    const before = JSON.stringify([this.scene.bounds, this.scene.origin]);
    const known = this.scene.layers.length > 0 && !first;
    this.scene = scene;
    document.title = `${scene.title} – rilievo`;
    $("title").textContent = scene.title;
    $("title").title = scene.title;
    this.frame();
    this.photos.sync(scene.photos);
    this.layers.sync(scene.layers);
    if (first || !known || (before !== JSON.stringify([scene.bounds, scene.origin]) && !this.touched)) this.view("home", false);
    this.dispatchEvent(new Event("scene"));
    this.state();
  }

  /** What was saved of scale, up and origin, as shown. */
  frame() {
    const { bounds, up, saved } = this.scene;
    const low = new THREE.Vector3(...bounds.min), high = new THREE.Vector3(...bounds.max);
    this.stage.up.set(...(saved.up ?? up)).normalize();
    this.stage.center.copy(low).add(high).multiplyScalar(0.5);
    this.stage.radius = Math.max(0.5 * low.distanceTo(high), 1e-6);
    const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => new THREE.Vector3(
      k & 1 ? high.x : low.x, k & 2 ? high.y : low.y, k & 4 ? high.z : low.z).dot(this.stage.up));
    this.guides.set({
      up: this.stage.up.clone(), center: this.stage.center.clone(), radius: this.stage.radius, low: Math.min(...corners),
      origin: saved.origin ? new THREE.Vector3(...saved.origin) : null, scale: saved.scale ?? 1 });
    this.guides.clip();
    this.gridNote();
    this.dispatchEvent(new Event("frame"));
  }

  get unit() {
    const unit = this.scene.saved.unit ?? this.scene.unit;
    return unit === "unknown" ? "units" : unit;
  }

  gridNote() {
    const note = $("grid-note");
    note.hidden = !this.guides.grid;
    note.textContent = `Grid ${Number((this.guides.step * (this.scene.saved.scale ?? 1)).toPrecision(3))} ${this.unit}`;
  }

  view(name, fly = true) {
    const up = this.stage.up;
    const front = this.photos.front(up, this.stage.center, this.stage.radius) ?? this.guides.ahead.clone().negate();
    this.stage.view(name, front, fly);
  }

  click(x, y) {
    if (this.tools.click(x, y)) return;
    const camera = this.photos.pick(x, y);
    if (camera !== null) this.photos.stand(camera);
  }

  /** What the corner and the middle of the picture say. */
  state() {
    const all = [...this.layers.all.values()], busy = this.scene.busy;
    const waits = all.filter((l) => l.active && !l.ready && !l.error);
    const chip = $("state");
    const text = waits.length ? `Loading ${waits.map((l) => l.entry.name.toLowerCase()).join(", ")} …` : busy ? "More is being prepared …" : "";
    chip.hidden = !text;
    if (chip.textContent !== text) chip.textContent = text;
    if (this.layers.anything && !document.body.dataset.ready) {
      document.body.dataset.ready = String(Math.round(performance.now()));
    }
    const needsGl = !this.stage.renderer && !all.some((l) => l.active && l.streamed);
    if (!all.length && busy) message("Preparing the first picture …", "this takes a moment after a build");
    else if (!all.length && this.scene.problems.length) {
      const [one] = this.scene.problems;
      message(one.error, [one.why, one.hint].filter(Boolean).join(" – "));
    } else if (!all.length) message("There is nothing to see yet", "what a build makes appears here as it gets ready");
    else if (needsGl) message("This browser cannot draw 3D", "WebGL is switched off or missing; splats, photos and facts are still there");
    else message("");
    this.legend();
  }

  legend() {
    this.dispatchEvent(new Event("legend"));
  }

  photobar() {
    const { at, list, what } = this.photos;
    $("photobar").hidden = at === null;
    $("stage").classList.toggle("in-photo", at !== null);
    if (at === null) return;
    const placed = this.photos.placed();
    $("photo-name").textContent = `${list[at].name} · ${placed.indexOf(at) + 1}/${placed.length}`;
    $("photo-name").title = list[at].name;
    for (const b of $("photo-what").children) {
      b.setAttribute("aria-pressed", String(b.dataset.what === (list[at][what] ? what : "photo")));
      b.hidden = b.dataset.what !== "photo" && !list[at][b.dataset.what];
    }
    $("photo-what").hidden = !list[at].depth && !list[at].mask;
  }

  toolbar() {
    const { kind, hint, endable, points, busy } = this.tools;
    $("toolbar").hidden = !kind;
    $("stage").classList.toggle("picking", Boolean(kind));
    $("tool-hint").textContent = busy ? "Measuring …" : hint;
    $("tool-done").hidden = !endable;
    $("tool-back").hidden = !points.length;
  }

  async screenshot() {
    const photo = this.photos.at !== null && !$("overlay").hidden
      ? { image: $("overlay"), opacity: this.photos.opacity, ...this.photos.rect } : null;
    const png = await this.stage.screenshot(photo);
    if (png) download(png, `${this.scene.title.replace(/[^\w.-]+/g, "-") || "rilievo"}.png`);
  }

  fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen?.().catch(() => notice("Full screen is not allowed here"));
  }

  fade(opacity) {
    this.photos.opacity = Math.min(Math.max(opacity, 0), 1);
    $("opacity").value = this.photos.opacity;
    this.photos.place();
  }

  bind() {
    for (const b of document.querySelectorAll("[data-view]")) b.onclick = () => { this.touched = true; this.view(b.dataset.view); };
    $("shot").onclick = () => this.screenshot();
    $("full").onclick = () => this.fullscreen();
    $("help").onclick = () => $("keys").showModal();
    $("previous").onclick = () => this.photos.step(-1);
    $("next").onclick = () => this.photos.step(1);
    $("leave").onclick = () => { this.photos.leave(); this.stage.invalidate(); };
    $("opacity").oninput = (e) => this.fade(Number(e.target.value));
    for (const b of $("photo-what").children) b.onclick = () => { this.photos.what = b.dataset.what; this.photos.picture(); this.photobar(); };
    $("tool-done").onclick = () => this.tools.finish();
    $("tool-back").onclick = () => this.tools.back();
    $("tool-cancel").onclick = () => this.tools.cancel();
    this.stage.addEventListener("move", () => { if (this.stage.moving) this.touched ||= this.controls.pointers.size > 0; });
    window.addEventListener("keydown", (e) => this.key(e));
  }

  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest?.("input:not([type=checkbox]):not([type=range]), select, textarea, dialog")) return;
    const turn = { ArrowLeft: [-30, 0], ArrowRight: [30, 0], ArrowUp: [0, -30], ArrowDown: [0, 30] }[e.key];
    if (turn && e.target === $("stage")) {
      e.preventDefault();
      if (e.shiftKey) this.controls.shift(...turn);
      else this.controls.orbit(...turn);
      return;
    }
    const tool = (kind) => () => { if ($("tab-measure") && !data.shared) { this.page.open("measure"); this.tools.start(kind); } };
    const act = {
      h: () => this.view("home"), 0: () => this.view("home"), Home: () => this.view("home"), 7: () => this.view("top"),
      1: () => this.view("front"), 3: () => this.view("side"), n: () => this.photos.step(1), p: () => this.photos.step(-1),
      "[": () => this.fade(this.photos.opacity - 0.1), "]": () => this.fade(this.photos.opacity + 0.1),
      Escape: () => (this.tools.kind ? this.tools.cancel() : this.photos.leave()), Backspace: () => this.tools.back(),
      Enter: () => { if (this.tools.endable && !e.target.closest("button")) this.tools.finish(); },
      m: tool("distance"), j: tool("height"), k: tool("angle"), f: () => this.fullscreen(), c: () => this.screenshot(),
      g: () => this.set("grid"), o: () => this.stage.setParallel(!this.stage.parallel), l: () => this.set("look"), x: () => this.set("wires"), "?": () => $("keys").showModal(),
      t: () => { document.body.classList.toggle("folded"); },
    }[e.key.length === 1 ? e.key.toLowerCase() : e.key];
    if (act && !(e.repeat && e.key.length > 1)) act();
  }

  /** Switches that the panel and keys share. */
  set(what) {
    this.dispatchEvent(Object.assign(new Event("switch"), { what }));
  }

  async poll() {
    let wait = this.scene.busy ? POLL_MS : POLL_IDLE_MS;
    if (!document.hidden) {
      try {
        const told = await data.scene(this.scene.rev);
        if (told) this.apply(told);
        this.missed = 0;
      } catch (error) {
        this.missed = (this.missed ?? 0) + 1;
        if (this.missed === 2) notice(error);
        wait = this.missed > 2 ? POLL_IDLE_MS : 2 * POLL_MS;
      }
    }
    setTimeout(() => this.poll(), wait);
  }
}

async function start() {
  let scene;
  try {
    scene = await data.scene();
  } catch (error) {
    const wait = $("wait");
    wait.setAttribute("role", "alert");
    wait.textContent = [error.what ?? error.message, error.why, error.hint].filter(Boolean).join(" – ");
    return;
  }
  const viewer = new Viewer(scene);
  window.rilievoViewer = viewer; // for tests, and for those who look inside
  if (!data.shared) setTimeout(() => viewer.poll(), scene.busy ? 400 : POLL_IDLE_MS);
}

start();
