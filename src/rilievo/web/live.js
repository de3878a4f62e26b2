// The live picture: a camera under the hand, frames drawn by rilievo, two of them always on their way.
"use strict";

const $ = (id) => document.getElementById(id);
const picture = $("picture"), photoCanvas = $("photo"), divider = $("divider");
const MAX_IN_FLIGHT = 2;      // the next frame is asked for before the last one is decoded
const STILL_AFTER_MS = 160;   // without movement: full resolution
const REFRESH_MS = 1500;      // a still picture follows training this often
const TARGET_MS = 45;         // drawing time of a frame while moving
const MAX_PIXELS = 2.4e6;     // of a still picture
const MIN_PIXELS = 6e4;       // while moving
const client = Math.random().toString(36).slice(2, 12);

// --- vectors ---------------------------------------------------------------------------------------------------------

const add = (a, b, k = 1) => [a[0] + k * b[0], a[1] + k * b[1], a[2] + k * b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => { const n = Math.hypot(...a); return a.map((x) => x / n); };

function turned(v, axis, angle) {  // about a unit axis, Rodrigues' formula
  const c = Math.cos(angle), s = Math.sin(angle), w = cross(axis, v), d = dot(axis, v) * (1 - c);
  return [0, 1, 2].map((i) => v[i] * c + w[i] * s + axis[i] * d);
}

// --- the camera ------------------------------------------------------------------------------------------------------

let scene = null;
// eye, and the camera's axes in the world; distance of the point that it turns around; `like`: the intrinsics, as a
// picture of width x height that is shown whole in the free part of the window.
let cam = null;
let changed = 0;       // counts changes of the camera
let lastMove = -1e9;

function cameraOf(document_) {
  const m = document_.cam_from_world, rows = [0, 4, 8].map((i) => [m[i], m[i + 1], m[i + 2]]);
  const t = [m[3], m[7], m[11]];
  const eye = [0, 1, 2].map((j) => -(rows[0][j] * t[0] + rows[1][j] * t[1] + rows[2][j] * t[2]));
  let distance = dot(add(scene.pivot, eye, -1), rows[2]);
  const far = Math.hypot(...add(scene.pivot, eye, -1));
  if (!(distance > 0.05 * far)) distance = far || 1;
  return { eye, right: rows[0], down: rows[1], ahead: rows[2], distance, like: document_ };
}

function moved(now = performance.now()) {
  changed += 1;
  lastMove = now;
  if (at !== null) leavePhoto();
  pump();
}

function straighten() {
  cam.ahead = unit(cam.ahead);
  cam.right = unit(add(cam.right, cam.ahead, -dot(cam.right, cam.ahead)));
  cam.down = cross(cam.ahead, cam.right);
}

function orbit(dx, dy) {
  const pivot = add(cam.eye, cam.ahead, cam.distance), up = scene.up;
  let pitch = -dy * 0.006;
  const steep = dot(turned(cam.ahead, cam.right, pitch), up);
  if (Math.abs(steep) > 0.995 && Math.abs(steep) > Math.abs(dot(cam.ahead, up))) pitch = 0;
  for (const [axis, angle] of [[cam.right, pitch], [up, -dx * 0.006]])
    for (const name of ["right", "down", "ahead"]) cam[name] = turned(cam[name], axis, angle);
  straighten();
  cam.eye = add(pivot, cam.ahead, -cam.distance);
  moved();
}

function shift(dx, dy) {
  const k = cam.distance / layout().fx;
  cam.eye = add(add(cam.eye, cam.right, -dx * k), cam.down, -dy * k);
  moved();
}

function dolly(factor) {
  const distance = Math.max(cam.distance * factor, scene.size * 1e-4);
  cam.eye = add(cam.eye, cam.ahead, cam.distance - distance);
  cam.distance = distance;
  moved();
}

function layout() {  // where a picture of the camera's kind lies in the window, CSS px
  const W = window.innerWidth, H = window.innerHeight, top = $("bar").offsetHeight, bottom = $("tools").offsetHeight;
  const free = Math.max(H - top - bottom, 0.4 * H), { width, height, intrinsics: [fx, fy, cx, cy] } = cam.like;
  const s = Math.min(W / width, free / height);
  const x = (W - s * width) / 2, y = top + (free - s * height) / 2;
  return { W, H, x, y, w: s * width, h: s * height, fx: s * fx, fy: s * fy, cx: x + s * cx, cy: y + s * cy, top, bottom };
}

function frameQuery(scale, still) {
  const L = layout();
  const w = Math.max(16, Math.round(L.W * scale)), h = Math.max(16, Math.round(L.H * scale));
  const kx = w / L.W, ky = h / L.H, t = [cam.right, cam.down, cam.ahead].map((r) => [...r, -dot(r, cam.eye)]);
  return new URLSearchParams({
    c: client, still: still ? 1 : 0, w, h, fx: L.fx * kx, fy: L.fy * ky, cx: L.cx * kx, cy: L.cy * ky, m: t.flat().join(","),
  });
}

// --- frames ----------------------------------------------------------------------------------------------------------

let inFlight = 0, sent = 0, drawn = 0, asked = -1, stillOf = "", lastStill = -1e9, failed = 0, gone = false;
let movingScale = 0.6, version = 0, shown = "";
const times = [];  // when frames were drawn, for the rate

function fullScale() {
  const W = window.innerWidth, H = window.innerHeight;
  return Math.min(window.devicePixelRatio || 1, Math.sqrt(MAX_PIXELS / (W * H)), 4000 / Math.max(W, H));
}

function pump() {
  if (!cam || gone || document.hidden) return;
  const now = performance.now(), still = now - lastMove > STILL_AFTER_MS;
  if (asked !== changed && !still) {
    while (asked !== changed && inFlight < MAX_IN_FLIGHT) ask(false);
  } else if (inFlight === 0) {
    const here = `${changed}/${window.innerWidth}x${window.innerHeight}`, all = `${here}/${version}`;
    if (!stillOf.startsWith(`${here}/`) || (stillOf !== all && now - lastStill > REFRESH_MS)) {
      stillOf = all;
      lastStill = now;
      ask(true);
    }
  }
}

async function ask(still) {
  const number = ++sent, query = frameQuery(still ? fullScale() : Math.min(movingScale, fullScale()), still);
  asked = changed;
  inFlight += 1;
  let blob = null;
  try {
    const answer = await fetch(`frame?${query}`);
    if (answer.status === 200) {
      blob = await answer.blob();
      if (!still) adapt(Number(answer.headers.get("X-Draw-Ms")));
      failed = 0;
    } else if (answer.status !== 204) {
      failed += 1;
      say(`This picture could not be drawn: ${(await answer.text()).trim()}`);
    } else if (still) {
      stillOf = "";
    }
  } catch {
    failed += 1;
    stillOf = "";
  }
  inFlight -= 1;
  if (failed === 0) pump();  // before decoding
  if (!blob) return;
  try {
    const bitmap = await createImageBitmap(blob);
    if (number > drawn) {
      drawn = number;
      show(bitmap);
    }
    bitmap.close();
  } catch {
    stillOf = "";  // a broken picture: the next one replaces it
  }
}

function adapt(ms) {
  if (!(ms > 0)) return;
  const step = Math.min(Math.max(Math.sqrt(TARGET_MS / ms), 0.85), 1.1);
  const least = Math.sqrt(MIN_PIXELS / (window.innerWidth * window.innerHeight));
  movingScale = Math.min(Math.max(movingScale * step, least), fullScale());
}

function show(bitmap) {
  const k = fullScale(), w = Math.round(window.innerWidth * k), h = Math.round(window.innerHeight * k);
  if (picture.width !== w || picture.height !== h) {
    picture.width = w;
    picture.height = h;
  }
  const context = picture.getContext("2d", { alpha: false });
  context.imageSmoothingEnabled = true;
  context.drawImage(bitmap, 0, 0, w, h);
  shown = `${bitmap.width}×${bitmap.height}`;
  document.body.dataset.drawn = drawn;
  times.push(performance.now());
  if (!gone) say("");
}

function showRate() {
  const now = performance.now();
  while (times.length && now - times[0] > 1000) times.shift();
  $("fps").textContent = times.length > 2 ? `${times.length} frames/s · ${shown}` : shown;
}

// --- what training says ----------------------------------------------------------------------------------------------

const grouped = (n) => Number(n).toLocaleString("en").replaceAll(",", "\u202f");

function duration(seconds) {
  const s = Math.round(seconds), h = Math.floor(s / 3600), min = Math.floor((s % 3600) / 60);
  return h ? `${h} h ${min} min` : min ? `${min} min ${s % 60} s` : `${s} s`;
}

function showFacts(status, wanted) {
  const facts = [];
  if (status.iteration != null)
    facts.push(["iteration", grouped(status.iteration) + (status.num_iterations != null ? ` of ${grouped(status.num_iterations)}` : "")]);
  if (status.psnr != null) facts.push(["held-out PSNR", `${status.psnr.toFixed(2)} dB`]);
  if (status.num_splats != null) facts.push(["Gaussians", grouped(status.num_splats)]);
  if (status.seconds != null) facts.push(["time", duration(status.seconds)]);
  if (wanted === "pause") facts.push(["", "paused"]);
  if (status.note) facts.push(["", status.note]);
  $("facts").replaceChildren(...facts.map(([name, value]) => {
    const row = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    row.append(dt, dd);
    return row;
  }));
}

function showWanted(wanted) {
  $("pause").setAttribute("aria-pressed", String(wanted === "pause"));
  $("pause").textContent = wanted === "pause" ? "Go on" : "Pause";
  $("pause").disabled = $("stop").disabled = wanted === "stop";
  $("stop").textContent = wanted === "stop" ? "Stopping …" : "Stop and keep";
}

async function control(wanted) {
  try {
    const answer = await fetch("control", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ wanted }) });
    if (answer.ok) showWanted((await answer.json()).wanted);
  } catch { /* the poll below says that the program has gone */ }
}

let missed = 0;
async function poll() {
  try {
    const answer = await fetch("status");
    if (!answer.ok) throw new Error();
    const told = await answer.json();
    missed = 0;
    gone = false;
    version = told.version;
    showFacts(told.status, told.wanted);
    showWanted(told.wanted);
  } catch {
    missed += 1;
    if (missed > 2 && !gone) {
      gone = true;
      say("rilievo has ended. This is the last picture.");
      $("pause").disabled = $("stop").disabled = true;
    }
  }
  setTimeout(poll, gone ? 4000 : 700);
}

function say(text) {
  $("message").hidden = !text;
  $("message").textContent = text;
}

// --- photos ----------------------------------------------------------------------------------------------------------

let at = null, comparing = false, split = 0.5, photo = null;

function goTo(k) {
  const n = scene.views.length;
  if (!n) return;
  k = ((k % n) + n) % n;
  at = null;
  cam = cameraOf(scene.views[k]);
  changed += 1;
  lastMove = -1e9;  // at once in full resolution
  at = k;
  lastPhoto = k;
  $("name").textContent = scene.views[k].name + (scene.views[k].held_out ? " · held out" : "");
  $("name").title = $("name").textContent;
  $("name").classList.add("at");
  if (comparing) loadPhoto();
  pump();
}
let lastPhoto = -1;

function leavePhoto() {
  at = null;
  $("name").classList.remove("at");
  compare(false);
}

function compare(on) {
  if (on && at === null) goTo(Math.max(lastPhoto, 0));
  comparing = on && at !== null;
  $("compare").setAttribute("aria-pressed", String(comparing));
  for (const id of ["photo", "divider", "left-label", "right-label"]) $(id).hidden = !comparing;
  photo = null;
  if (comparing) loadPhoto();
}

async function loadPhoto() {
  const k = at;
  photo = null;
  drawPhoto();
  try {
    const answer = await fetch(`photo?k=${k}`);
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const bitmap = await createImageBitmap(await answer.blob());
    if (at === k && comparing) photo = bitmap;
  } catch (error) {
    if (at === k) say(`The photo cannot be shown: ${error.message}`);
  }
  drawPhoto();
}

function drawPhoto() {
  if (!comparing) return;
  const L = layout(), k = window.devicePixelRatio || 1, x = L.x + split * L.w;
  photoCanvas.width = Math.round(L.W * k);
  photoCanvas.height = Math.round(L.H * k);
  divider.style.left = `${x}px`;
  divider.style.top = `${L.y}px`;
  divider.style.bottom = `${L.H - L.y - L.h}px`;
  divider.setAttribute("aria-valuenow", String(Math.round(100 * split)));
  $("left-label").style.cssText = `top:${L.y + 10}px;right:${L.W - x + 12}px`;
  $("right-label").style.cssText = `top:${L.y + 10}px;left:${x + 12}px`;
  $("left-label").hidden = split < 0.1;
  $("right-label").hidden = split > 0.9;
  if (!photo) return;
  const context = photoCanvas.getContext("2d");
  context.scale(k, k);
  context.beginPath();
  context.rect(L.x, L.y, split * L.w, L.h);
  context.clip();
  context.drawImage(photo, L.x, L.y, L.w, L.h);
}

// --- hands -----------------------------------------------------------------------------------------------------------

const pointers = new Map();

picture.addEventListener("pointerdown", (e) => {
  if (!cam) return;
  picture.setPointerCapture(e.pointerId);
  picture.focus();
  pointers.set(e.pointerId, { x: e.clientX, y: e.clientY, shifts: e.button === 2 || e.button === 1 || e.shiftKey });
  picture.classList.add("moving");
});

picture.addEventListener("pointermove", (e) => {
  const p = pointers.get(e.pointerId);
  if (!p || !cam) return;
  const dx = e.clientX - p.x, dy = e.clientY - p.y;
  if (!dx && !dy) return;
  if (pointers.size === 2) {  // half of the way of the middle; the spread by this finger
    const other = [...pointers].find(([id]) => id !== e.pointerId)[1];
    const before = Math.hypot(p.x - other.x, p.y - other.y), after = Math.hypot(e.clientX - other.x, e.clientY - other.y);
    p.x = e.clientX;
    p.y = e.clientY;
    shift(dx / 2, dy / 2);
    if (before > 8 && after > 8) dolly(before / after);
    return;
  }
  p.x = e.clientX;
  p.y = e.clientY;
  if (pointers.size > 2) return;
  if (p.shifts) shift(dx, dy);
  else orbit(dx, dy);
});

for (const kind of ["pointerup", "pointercancel"])
  picture.addEventListener(kind, (e) => {
    pointers.delete(e.pointerId);
    if (!pointers.size) picture.classList.remove("moving");
  });
picture.addEventListener("contextmenu", (e) => e.preventDefault());
picture.addEventListener("wheel", (e) => {
  e.preventDefault();
  if (!cam) return;
  const px = e.deltaY * (e.deltaMode === 1 ? 30 : e.deltaMode === 2 ? 400 : 1);
  dolly(Math.exp(Math.min(Math.max(px, -400), 400) * (e.ctrlKey ? 0.008 : 0.0015)));
}, { passive: false });

divider.addEventListener("pointerdown", (e) => { divider.setPointerCapture(e.pointerId); e.preventDefault(); divider.focus(); });
divider.addEventListener("pointermove", (e) => {
  if (!divider.hasPointerCapture(e.pointerId)) return;
  const L = layout();
  split = Math.min(Math.max((e.clientX - L.x) / L.w, 0), 1);
  drawPhoto();
});
divider.addEventListener("keydown", (e) => {
  const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[e.key];
  if (!step) return;
  split = Math.min(Math.max(split + step, 0), 1);
  e.preventDefault();
  drawPhoto();
});

const held = new Set();
const FLY = { KeyW: ["ahead", 1], KeyS: ["ahead", -1], KeyD: ["right", 1], KeyA: ["right", -1], KeyQ: ["down", 1], KeyE: ["down", -1] };
let flying = 0;

function fly(now) {
  if (!held.size || !cam) { flying = 0; return; }
  const seconds = Math.min((now - (flying || now)) / 1000, 0.1), speed = cam.distance * 0.8 * (held.has("fast") ? 3 : 1);
  flying = now;
  let any = false;
  for (const [code, [axis, sign]] of Object.entries(FLY))
    if (held.has(code)) {
      cam.eye = add(cam.eye, cam[axis], sign * speed * seconds);
      any = true;
    }
  if (any) moved(now);
  if (any) requestAnimationFrame(fly);
  else flying = 0;
}

window.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || !cam) return;
  if (e.shiftKey) held.add("fast"); else held.delete("fast");
  if (e.code in FLY) {
    const starts = !flying;
    held.add(e.code);
    if (starts && !e.repeat) requestAnimationFrame(fly);
    return;
  }
  if (e.repeat) return;
  const act = {
    KeyN: () => goTo(lastPhoto + (e.shiftKey ? -1 : 1)), KeyC: () => compare(!comparing), KeyR: reset, KeyH: help,
    KeyP: () => { if (scene.training && !$("pause").disabled) $("pause").click(); },
  }[e.code];
  if (act) act();
});
window.addEventListener("keyup", (e) => { held.delete(e.code); if (!e.shiftKey) held.delete("fast"); });
window.addEventListener("blur", () => held.clear());
window.addEventListener("resize", () => { pump(); drawPhoto(); });
document.addEventListener("visibilitychange", pump);

function reset() {
  at = null;
  cam = cameraOf(scene.start);
  moved();
  compare(false);
  $("name").classList.remove("at");
}

function help() {
  $("keys").hidden = !$("keys").hidden;
  $("keys").style.bottom = `${$("tools").offsetHeight + 2}px`;
  $("help").setAttribute("aria-expanded", String(!$("keys").hidden));
}

$("next").onclick = () => goTo(lastPhoto + 1);
$("previous").onclick = () => goTo(lastPhoto < 0 ? -1 : lastPhoto - 1);
$("compare").onclick = () => compare(!comparing);
$("reset").onclick = reset;
$("help").onclick = help;
$("pause").onclick = () => control($("pause").getAttribute("aria-pressed") === "true" ? "run" : "pause");
$("stop").onclick = () => control("stop");
$("shot").onclick = () => picture.toBlob((blob) => {
  if (!blob) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `rilievo-${String(drawn).padStart(5, "0")}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}, "image/png");

// --- start -----------------------------------------------------------------------------------------------------------

async function start() {
  say("Drawing the first picture …");
  try {
    scene = await (await fetch("scene")).json();
  } catch {
    say("rilievo does not answer. Is it still running?");
    return;
  }
  const away = cameraOf(scene.start).distance;
  scene.size = away;
  cam = cameraOf(scene.start);
  changed += 1;
  if (!scene.views.length) $("photo-group").hidden = true;
  else $("name").textContent = scene.views.length === 1 ? "1 photo" : `${scene.views.length} photos`;
  if (!scene.training) $("training-group").hidden = true;
  poll();
  pump();
  setInterval(() => { pump(); showRate(); }, 100);
}

start();
