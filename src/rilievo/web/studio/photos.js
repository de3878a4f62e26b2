// The tab of photos: what is being sent, what arrived, how sharp it is.

import { ask, house, poll } from "./api.js";
import { bytes, confirmed, duration, el, inOneLine, keyed, notice, plural, say } from "./dom.js";
import { choose } from "./files.js";
import { addTo } from "./house.js";
import { nameOf, paintPicture, waits } from "./photo.js";
import { batchOf, watch } from "./upload.js";

export function showPhotos(root, page) {
  const batch = batchOf(page.id);
  const sending = el("div");
  const grid = el("ul.photos", { "aria-label": "photos" });
  const words = el("p.dim.grow");
  const only = el("button.outlined", {
    type: "button",
    "aria-pressed": "false",
    hidden: true,
    onclick: () => {
      only.setAttribute("aria-pressed", String(only.getAttribute("aria-pressed") !== "true"));
      paint();
    },
  });
  const next = el(
    "a.button.strong",
    { href: `#/h/${encodeURIComponent(page.id)}/make`, hidden: true },
    "Choose what to make",
  );
  const tools = el(
    "div.row.tools",
    {},
    el("button.outlined", { type: "button", onclick: () => add({}) }, "Add files"),
    el("button.outlined", { type: "button", onclick: () => add({ folder: true }) }, "Add a folder"),
    words,
    only,
    next,
  );
  const nothing = el(
    "div.drop",
    { hidden: true },
    el("p.big", {}, "Drop photos, a folder or a video here"),
    el("p.dim", {}, "or choose them above. They stay on this machine."),
  );
  root.append(tools, sending, nothing, grid);

  let photos = [],
    arrivals = batch.arrivals;
  const watching = poll(
    () => ask(house(page.id, "photos")),
    (list) => {
      photos = list.sort((a, b) => nameOf(a).localeCompare(nameOf(b), "en", { numeric: true }));
      paint();
    },
    (error) => {
      if (error.status !== 0 && error.status !== 404) notice(error);
    },
    () => (batch.counts().open || photos.some(waits) ? Math.max(1, photos.length / 300) : 5),
  );
  const noWatch = watch((changed) => {
    if (changed !== batch) return;
    paintSending();
    if (batch.arrivals !== arrivals) {
      arrivals = batch.arrivals;
      if (!batch.counts().open) {
        watching.now();
        page.refresh();
      }
    }
  });

  async function add(how) {
    const { items, skipped } = await choose(how);
    addTo(page.id, items, skipped);
  }

  function paint() {
    const warned = photos.filter((photo) => photo.warnings?.length);
    const pressed = only.getAttribute("aria-pressed") === "true" && warned.length > 0;
    only.hidden = !warned.length;
    say(only, `${warned.length} with warnings`);
    say(words, photos.length ? plural(photos.length, "photo") : "");
    next.hidden = !photos.length;
    nothing.hidden = photos.length > 0 || batch.items.length > 0 || batch.missing.length > 0;
    keyed(grid, pressed ? warned : photos, (photo) => photo.name, tile, paintTile);
  }

  function tile(photo) {
    const name = el("span.name", { title: nameOf(photo) }, nameOf(photo));
    const away = el(
      "button.away",
      {
        type: "button",
        "aria-label": `delete ${nameOf(photo)}`,
        title: "delete this photo",
        onclick: () => remove(photo),
      },
      "×",
    );
    return el(
      "li.photo",
      {},
      el("div.picture"),
      el("div.line", {}, name, el("span.sharpness.number")),
      el("p.warnings"),
      away,
    );
  }

  function paintTile(node, photo) {
    paintPicture(node.querySelector(".picture"), photo);
    const warnings = photo.warnings ?? [];
    node.classList.toggle("warned", warnings.length > 0);
    say(node.querySelector(".warnings"), warnings.join("; "));
    const sharpness = node.querySelector(".sharpness");
    const blur = Number.isFinite(photo.sharpness) ? `blur ${photo.sharpness.toFixed(1)} px` : "";
    say(sharpness, photo.kind === "video" ? "video" : blur);
    sharpness.title = blur ? "how far an edge is smeared" : "";
  }

  async function remove(photo) {
    if (
      !(await confirmed(
        "Delete this photo?",
        `${nameOf(photo)} is deleted from the house. Models that were made with it stay until they are made again.`,
        "Delete",
      ))
    )
      return;
    try {
      await ask(house(page.id, "photos", photo.name), { method: "DELETE" });
      watching.now();
      page.refresh();
    } catch (error) {
      notice(error);
    }
  }

  // --- what is being sent --------------------------------------------------------------------------------------------

  const bar = el("progress", { max: 1, "aria-label": "sent" });
  const line = el("p.grow.number");
  const pause = el("button.outlined", { type: "button", onclick: () => (batch.paused ? batch.go() : batch.pause()) });
  const again = el("button.outlined", { type: "button", onclick: () => batch.retry() }, "Try again");
  const drop = el(
    "button",
    {
      type: "button",
      onclick: async () => {
        if (
          await confirmed(
            "Stop sending?",
            "What has not been sent completely is left out. Photos that arrived stay.",
            "Stop sending",
          )
        )
          batch.clear();
      },
    },
    "Stop",
  );
  const dismiss = el("button", { type: "button", onclick: () => batch.clear() }, "Dismiss");
  const problems = el("ul.problems");
  const missing = el(
    "div.missing",
    {},
    el("p"),
    el(
      "div.row",
      {},
      el("button.strong", { type: "button", onclick: () => add({}) }, "Choose them again"),
      el("button.outlined", { type: "button", onclick: () => add({ folder: true }) }, "Choose the folder again"),
      el("button", { type: "button", onclick: () => batch.clear() }, "Leave them out"),
    ),
  );
  const panel = el(
    "div.panel.sending-panel",
    { hidden: true },
    el("div.row", {}, line, pause, again, drop, dismiss),
    bar,
    problems,
    missing,
  );
  sending.append(panel);

  function paintSending() {
    if (!panel.isConnected) return;
    const count = batch.counts(),
      { rate, left } = batch.pace();
    panel.hidden = !count.open && !count.failed && !count.refused && !batch.missing.length;
    bar.hidden = !count.open && !count.failed;
    line.hidden = !count.total;
    bar.value = count.bytes ? count.sent / count.bytes : 0;
    pause.hidden = drop.hidden = !count.open;
    say(pause, batch.paused ? "Go on" : "Pause");
    again.hidden = !count.failed || count.open > 0;
    dismiss.hidden = count.open > 0 || count.failed > 0 || !count.refused;
    const parts = [`${count.done} of ${plural(count.total, "file")}`, `${bytes(count.sent)} of ${bytes(count.bytes)}`];
    if (count.open && batch.paused) parts.push("paused");
    else if (count.open && rate > 0) parts.push(`${bytes(rate)}/s`, `${duration(left)} left`);
    say(line, parts.join(" · "));
    keyed(
      problems,
      batch.items.filter((item) => item.error),
      (item) => item.name,
      () => el("li", {}, el("b"), el("span")),
      (node, item) => {
        say(node.firstChild, item.name);
        say(node.lastChild, inOneLine(item.error));
      },
    );
    missing.hidden = !batch.missing.length;
    say(
      missing.firstChild,
      `${plural(batch.missing.length, "file")} had not been sent completely when this page was left. ` +
        "Choose the same files again: what has arrived is not sent twice.",
    );
    nothing.hidden = photos.length > 0 || count.total > 0 || batch.missing.length > 0;
  }
  paintSending();

  return {
    update() {},
    stop() {
      watching.stop();
      noWatch();
    },
  };
}
