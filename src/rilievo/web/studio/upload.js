// Uploads: some files at a time, each in chunks that go on where they stopped, with pause, retry and reloads.

import { ask, house } from "./api.js";
import { notice, plural } from "./dom.js";
import { forget, forgetHouse, keep, kept } from "./store.js";

const PARALLEL = 4;
const MIN_CHUNK = 256 * 1024,
  MAX_CHUNK = 16 * 1024 * 1024,
  CHUNK_SECONDS = 1;
const MAX_ATTEMPTS = 8; // of a server that answers with errors; one that does not answer is waited for
const sleep = (seconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });

const batches = new Map();
const watchers = new Set();

/** The uploads of a house. */
export function batchOf(houseId) {
  if (!batches.has(houseId)) batches.set(houseId, new Batch(houseId));
  return batches.get(houseId);
}

/** All uploads that are not through. */
export const busy = () => [...batches.values()].filter((batch) => batch.counts().open > 0);

/** Calls `tell(batch)` when something changes, at most ten times a second. Returns a function that ends that. */
export function watch(tell) {
  watchers.add(tell);
  return () => watchers.delete(tell);
}

class Batch {
  constructor(houseId) {
    Object.assign(this, { houseId, items: [], missing: [], paused: false, arrivals: 0, chunk: 1024 * 1024 });
    this.stopper = new AbortController();
    this.running = 0;
    this.samples = [];
    this.telling = 0;
  }

  /** More files: [{name, size, file}]. Those that are under way already are left alone. */
  add(items, { keepThem = true } = {}) {
    if (!this.counts().open) this.items = this.items.filter((item) => item.state !== "done"); // counted anew
    const known = new Map(this.items.map((item) => [item.name, item]));
    const fresh = [];
    for (const { name, size, file } of items) {
      const old = known.get(name);
      if (old && (old.state === "waiting" || old.state === "sending") && old.size === size) continue;
      if (old) this.items.splice(this.items.indexOf(old), 1);
      const item = { name, size, file, sent: 0, state: "waiting", id: null, error: null };
      this.items.push(item);
      fresh.push(item);
    }
    const names = new Set(items.map((item) => item.name));
    this.missing = this.missing.filter((item) => !names.has(item.name));
    const still = (name) =>
      fresh.some((item) => item.name === name && (item.state === "waiting" || item.state === "sending"));
    if (keepThem && fresh.length) keep(this.houseId, fresh, still);
    this.work();
  }

  pause() {
    this.paused = true;
    this.stopper.abort();
    this.changed();
  }

  go() {
    this.paused = false;
    this.work();
  }

  /** Again what failed. */
  retry() {
    for (const item of this.items) if (item.state === "failed") Object.assign(item, { state: "waiting", error: null });
    this.go();
  }

  /** Gives up what is not sent, and forgets what was refused. */
  clear() {
    this.pause();
    for (const item of this.items) if (item.state !== "done") forget(this.houseId, item.name);
    this.items = this.items.filter((item) => item.state === "done");
    for (const item of this.missing) forget(this.houseId, item.name);
    this.missing = [];
    this.paused = false;
    this.changed();
  }

  counts() {
    const count = { total: this.items.length, done: 0, open: 0, failed: 0, refused: 0, bytes: 0, sent: 0 };
    for (const item of this.items) {
      if (item.state === "done") count.done += 1;
      else if (item.state === "failed" || item.state === "refused") count[item.state] += 1;
      else count.open += 1;
      if (item.state !== "refused") {
        count.bytes += item.size;
        count.sent += item.state === "done" ? item.size : item.sent;
      }
    }
    return count;
  }

  /** Bytes a second over the last seconds, and seconds left. */
  pace() {
    const now = performance.now() / 1000;
    const { bytes, sent } = this.counts();
    this.samples = this.samples.filter(([time]) => now - time < 8);
    const first = this.samples[0];
    const rate = first && now - first[0] > 0.5 ? (sent - first[1]) / (now - first[0]) : 0;
    return { rate, left: rate > 0 ? (bytes - sent) / rate : NaN };
  }

  work() {
    this.changed();
    if (this.paused) return;
    if (this.stopper.signal.aborted) this.stopper = new AbortController();
    const { signal } = this.stopper;
    while (this.running < PARALLEL && this.items.some((item) => item.state === "waiting")) {
      const item = this.items.find((one) => one.state === "waiting");
      item.state = "sending";
      this.running += 1;
      this.send(item, signal).finally(() => {
        this.running -= 1;
        this.work();
      });
    }
  }

  async send(item, signal) {
    for (let attempt = 0; ;) {
      try {
        if (item.id === null) {
          const start = await ask(house(this.houseId, "uploads"), {
            json: { name: item.name, size: item.size },
            signal,
          });
          item.id = start.upload_id;
          item.sent = start.offset;
        }
        while (item.sent < item.size) {
          const began = performance.now(),
            part = item.file.slice(item.sent, item.sent + this.chunk);
          const told = await ask(`/api/uploads/${encodeURIComponent(item.id)}`, {
            method: "PATCH",
            body: part,
            headers: { "Upload-Offset": String(item.sent) },
            signal,
          });
          item.sent = told.offset;
          if (told.left_out?.length) leftOut(item.name, told.left_out);
          attempt = 0;
          if (part.size === this.chunk) {
            const factor = CHUNK_SECONDS / Math.max(0.02, (performance.now() - began) / 1000);
            this.chunk = Math.round(
              Math.min(MAX_CHUNK, Math.max(MIN_CHUNK, this.chunk * Math.min(2, Math.max(0.5, factor)))),
            );
          }
          this.changed();
        }
        item.state = "done";
        item.file = null;
        this.arrivals += 1;
        forget(this.houseId, item.name);
        return;
      } catch (error) {
        if (error.name === "AbortError" || signal.aborted) {
          item.state = "waiting";
          item.id = null; // the server is asked how much of the broken chunk arrived
          return;
        }
        const waitable =
          error.status === 0 ||
          error.status === 409 ||
          error.status === 429 ||
          (error.status === 404 && item.id !== null) || // of the upload, not of the house
          error.status === 408 ||
          (error.status >= 500 && error.status !== 507);
        if (error.status === 0 && !(await readable(item.file))) {
          this.fail(item, "refused", {
            what: "The file cannot be read",
            why: "it was changed, moved or deleted since it was chosen",
            hint: "choose it again",
          });
          return;
        }
        attempt += 1;
        const most = error.status === 0 ? Infinity : error.status === 409 ? 10 * MAX_ATTEMPTS : MAX_ATTEMPTS;
        if (!waitable || attempt > most) {
          this.fail(item, waitable || error.status === 507 ? "failed" : "refused", error);
          return;
        }
        item.id = null;
        this.changed();
        const pause = error.status === 409 ? 0.3 : Math.min(8, 0.4 * 2 ** attempt);
        await sleep(pause * (0.7 + 0.6 * Math.random()), signal);
      }
    }
  }

  fail(item, state, error) {
    Object.assign(item, { state, error });
    if (state === "refused") {
      item.file = null;
      forget(this.houseId, item.name);
    }
    this.changed();
  }

  changed() {
    const now = performance.now() / 1000,
      last = this.samples.at(-1);
    if (!last || now - last[0] > 0.2) this.samples.push([now, this.counts().sent]);
    if (this.telling) return;
    this.telling = setTimeout(() => {
      this.telling = 0;
      for (const tell of watchers) tell(this);
    }, 100);
  }
}

/** Says what of an archive is no photo. */
function leftOut(name, files) {
  const some = files.slice(0, 5).map((file) => `${file.name}: ${file.why}`);
  if (files.length > some.length) some.push(`and ${files.length - some.length} more`);
  notice({ what: `${plural(files.length, "file")} of ${name} left out`, why: some.join("; ") });
}

async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

/** Goes on with what a reload interrupted: kept files by themselves, others once they are chosen again. */
export async function restore() {
  const left = await kept();
  if (!left.length || !(await first())) return;
  let houses;
  try {
    houses = new Set((await ask("/api/houses")).map((one) => one.id));
  } catch {
    return;
  }
  for (const id of new Set(left.map((item) => item.house))) {
    if (!houses.has(id)) {
      forgetHouse(id);
      continue;
    }
    const items = left.filter((item) => item.house === id),
      batch = batchOf(id);
    batch.missing.push(...items.filter((item) => !item.file));
    batch.add(
      items.filter((item) => item.file),
      { keepThem: false },
    );
  }
}

/** Whether no other window of the studio looks after the files that were left. */
async function first() {
  if (!navigator.locks) return true;
  return new Promise((resolve) => {
    navigator.locks.request("rilievo-uploads", { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock ? new Promise(() => {}) : null; // until this window is closed
    });
  });
}
