// A house: its head, its tabs, and what they share.

import { ask, house, poll } from "./api.js";
import { el, notice, plural, say, troubleBox } from "./dom.js";
import { showFiles, showReport } from "./files_tab.js";
import { address, removeHouse } from "./gallery.js";
import { showMake } from "./make.js";
import { showPhotos } from "./photos.js";
import { paintState, stateOf } from "./states.js";
import { takesDrops } from "./files.js";
import { batchOf, watch } from "./upload.js";
import { showView } from "./view.js";

// name in the address -> [word, show(root, page)]; show returns {update(house), stop()}
const TABS = {
  photos: ["Photos", showPhotos],
  make: ["Make", showMake],
  view: ["View", showView],
  report: ["Report", showReport],
  files: ["Files", showFiles],
};

/** Where a house opens: at what there is to do or to see next. */
const firstTab = (one) =>
  one.status === "done"
    ? "view"
    : ["queued", "running", "failed", "cancelled"].includes(one.status)
      ? "make"
      : "photos";

export function show(root, id, tab) {
  const title = el("input.house-title", {
    type: "text",
    "aria-label": "name of the house",
    maxlength: 120,
    autocomplete: "off",
    spellcheck: "false",
  });
  const state = el("span.state", { role: "status" });
  const nav = el("nav.tabs", { "aria-label": "parts of the house" });
  const body = el("section.tab");
  const head = el(
    "div.house-head",
    {},
    el("h1.unseen", {}, "House"),
    title,
    state,
    el(
      "button.danger",
      {
        type: "button",
        onclick: async () => {
          if (await removeHouse(id, title.value)) location.hash = "#/";
        },
      },
      "Delete",
      el("span.wide", {}, "house"),
    ),
  );
  let now = null,
    open = null,
    current = null,
    wanted = tab;
  root.classList.add("house");
  root.append(head, nav, body);

  const page = {
    id,
    go: (name) => {
      location.hash = address(id, name);
    },
    refresh: () => watching.now(),
    house: () => now,
  };
  const links = new Map(
    Object.entries(TABS).map(([name, [word]]) => {
      const link = el("a", { href: address(id, name) }, word);
      nav.append(link);
      return [name, link];
    }),
  );

  title.addEventListener("change", async () => {
    const name = title.value.trim();
    if (!name) {
      title.value = now?.title ?? "";
      return;
    }
    try {
      await ask(house(id), { method: "PATCH", json: { title: name } });
      watching.now();
    } catch (error) {
      notice(error);
    }
  });
  title.addEventListener("keydown", (event) => {
    if (event.key === "Enter") title.blur();
    if (event.key === "Escape") {
      title.value = now?.title ?? "";
      title.blur();
    }
  });

  function openTab(name) {
    if (!(name in TABS)) name = firstTab(now);
    if (name === current) return;
    open?.stop();
    current = name;
    body.replaceChildren();
    root.dataset.tab = name;
    for (const [key, link] of links) {
      if (key === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    open = TABS[name][1](body, page);
    open.update(now);
  }

  function paint() {
    if (document.activeElement !== title) title.value = now.title || "untitled";
    document.title = `${now.title || "untitled"} · rilievo studio`;
    paintState(state, now);
    say(links.get("photos"), now.num_photos ? `Photos ${now.num_photos}` : "Photos");
    const made = now.status === "done";
    links.get("view").classList.toggle("faint", !made && now.status !== "running");
  }

  const watching = poll(
    () => ask(house(id)),
    (one) => {
      now = one;
      paint();
      if (current === null) openTab(wanted);
      else open.update(now);
    },
    (error) => {
      if (error.status === 404) {
        watching.stop();
        open?.stop();
        open = null;
        root.className = "page";
        root.replaceChildren(
          el("h1", {}, "This house is not there"),
          troubleBox(error),
          el("a.button.outlined", { href: "#/" }, "All houses"),
        );
      } else if (error.status !== 0) notice(error);
    },
    () => (now && ["running", "queued", "uploading"].includes(stateOf(now)) ? 2 : 5),
  );

  const onTab = (event) => {
    wanted = event.detail;
    if (now) openTab(wanted);
  };
  window.addEventListener("tab", onTab);
  const noDrops = takesDrops(root, ({ items, skipped }) => addTo(id, items, skipped));
  const noWatch = watch((batch) => {
    if (batch.houseId === id && now) paint();
  });

  return () => {
    watching.stop();
    open?.stop();
    noDrops();
    noWatch();
    window.removeEventListener("tab", onTab);
  };
}

/** More files for a house. */
export function addTo(id, items, skipped) {
  if (skipped) notice(`${plural(skipped, "file")} left out: neither photo nor video`);
  if (!items.length) return;
  batchOf(id).add(items);
  location.hash = address(id, "photos");
}
