// The studio's frame: which page is shown, the bar above it, what is under way.

import { ask, onSilence, poll } from "./api.js";
import { $, bytes, plural, say, showSilence } from "./dom.js";
import * as gallery from "./gallery.js";
import * as housePage from "./house.js";
import * as queue from "./queue.js";
import { busy, restore, watch } from "./upload.js";

// #/... -> [module's show, its parameters]
const PAGES = [
  [/^#\/?$/, gallery.show],
  [/^#\/new$/, gallery.showNew],
  [/^#\/queue$/, queue.show],
  [/^#\/h\/([^/]+)(?:\/([a-z]+))?$/, housePage.show],
];

let leave = () => {};
let shown = null;

function route() {
  const hash = location.hash || "#/";
  for (const [pattern, show] of PAGES) {
    const found = pattern.exec(hash);
    if (!found) continue;
    const parameters = found.slice(1).map((part) => part && decodeURIComponent(part));
    // Tabs of one house share the page.
    const page = show === housePage.show ? `house ${parameters[0]}` : hash;
    if (page === shown) {
      window.dispatchEvent(new CustomEvent("tab", { detail: parameters[1] }));
      return;
    }
    leave();
    const first = shown === null;
    shown = page;
    $("content").replaceChildren();
    $("content").className = "";
    document.title = "rilievo studio";
    for (const [id, here] of [
      ["nav-houses", show !== queue.show],
      ["nav-queue", show === queue.show],
    ])
      if (here) $(id).setAttribute("aria-current", "page");
      else $(id).removeAttribute("aria-current");
    leave = show($("content"), ...parameters) ?? (() => {});
    window.scrollTo(0, 0);
    if (!first) $("content").focus({ preventScroll: true });
    return;
  }
  location.replace("#/");
}

$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part after # says which page is shown
  $("content").focus();
});
window.addEventListener("hashchange", route);
window.addEventListener("pagehide", () => leave());
onSilence((trouble) => showSilence($("silence"), trouble));

// --- the bar ---------------------------------------------------------------------------------------------------------

const jobs = poll(
  () => ask("/api/jobs"),
  (list) => {
    const open = list.filter((job) => job.status === "queued" || job.status === "running").length;
    $("queue-count").hidden = open === 0;
    say($("queue-count"), String(open));
  },
  () => {},
  () => 4,
);
window.addEventListener("jobs", () => jobs.now());

poll(
  () => ask("/api/state"),
  (state) => {
    const machine = state.machine ?? {};
    const free = (machine.free_disk_mb ?? NaN) * 1e6;
    const parts = [];
    if (machine.threads) parts.push(plural(machine.threads, "thread"));
    if (Number.isFinite(free)) parts.push(`${bytes(free)} free`);
    say($("machine"), parts.join(", "));
  },
  () => {},
  () => 30,
);

watch(() => {
  const [batch] = busy();
  $("sending").hidden = !batch;
  if (!batch) return;
  const { sent, bytes: total } = batch.counts();
  say($("sending"), `${batch.paused ? "paused" : "sending"} ${Math.floor((100 * sent) / Math.max(1, total))} %`);
  $("sending").href = `#/h/${encodeURIComponent(batch.houseId)}/photos`;
});

// A file that the browser does not keep is lost by a reload: then it must be chosen again.
window.addEventListener("beforeunload", (event) => {
  if (busy().some((batch) => !batch.paused && batch.counts().bytes > 512e6)) event.preventDefault();
});

route();
restore();
