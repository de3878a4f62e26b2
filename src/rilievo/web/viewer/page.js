// The page's parts: bar, picture, panel with tabs, bar of the photo, help.

import { $, el, icon, iconButton } from "./dom.js";

const KEYS = [
  ["Turn", "drag, one finger"], ["Move", "right or middle drag, Shift + drag, two fingers"], ["Nearer, further", "wheel, pinch"],
  ["Centre on a place", "double click"], ["Fly", "W A S D, Q down, E up"], ["Home, top, front, side", "H or 0, 7, 1, 3"],
  ["Next, previous photo", "N, P"], ["Fade the photo", "[ and ]"], ["Leave photo, tool or message", "Esc"],
  ["Take back a point, end a measure", "Backspace, Enter"], ["Distance, height, angle", "M, J, K"], ["Look of the mesh, wires", "L, X"], ["With or without perspective", "O"],
  ["Grid", "G"], ["Full screen, screenshot", "F, C"], ["Panel", "T"], ["This help", "?"],
];

export function buildPage(tabs) {
  const views = ["Home", "Top", "Front", "Side"].map((name) =>
    el("button.view", { type: "button", "data-view": name.toLowerCase(), title: `${name} view` }, name));
  const bar = el("header", { id: "bar" },
    el("h1", { id: "title" }, "rilievo"),
    el("div.group", { role: "group", "aria-label": "views" }, views),
    el("div.group.end", {},
      iconButton("split", "Compare two layers", null, { id: "compare-button", "aria-pressed": "false" }),
      iconButton("camera", "Screenshot", null, { id: "shot" }),
      iconButton("full", "Full screen", null, { id: "full" }),
      iconButton("help", "Keyboard and mouse", null, { id: "help" })));
  const stage = el("main", { id: "stage", tabindex: "0", "aria-label": "the model: drag turns it, arrow keys too" },
    el("div", { id: "frames" }), el("canvas", { id: "gl" }),
    el("img", { id: "overlay", alt: "", hidden: true, draggable: "false" }), el("canvas", { id: "marks" }),
    el("div", { id: "divider", role: "slider", tabindex: "0", "aria-label": "border of the comparison", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "50", hidden: true },
      icon("split")),
    el("p.side.left-side", { id: "left-name", hidden: true }), el("p.side.right-side", { id: "right-name", hidden: true }),
    el("div", { id: "corner" }, el("p.chip", { id: "state", role: "status", hidden: true }), el("p.chip", { id: "grid-note", hidden: true })),
    el("div", { id: "legend", hidden: true }),
    el("div", { id: "message", hidden: true }),
    el("div", { id: "toolbar", hidden: true },
      el("span", { id: "tool-hint", role: "status" }),
      el("button.outlined", { type: "button", id: "tool-back", hidden: true }, "Undo"),
      el("button.strong", { type: "button", id: "tool-done", hidden: true }, "Done"),
      iconButton("close", "Put the tool away", null, { id: "tool-cancel" })),
    el("div", { id: "photobar", hidden: true },
      iconButton("left", "Previous photo", null, { id: "previous" }),
      el("span", { id: "photo-name" }),
      iconButton("right", "Next photo", null, { id: "next" }),
      el("div.segments", { id: "photo-what", role: "group", "aria-label": "what lies over the model" },
        el("button", { type: "button", "data-what": "photo", "aria-pressed": "true" }, "Photo"),
        el("button", { type: "button", "data-what": "depth", "aria-pressed": "false" }, "Depth"),
        el("button", { type: "button", "data-what": "mask", "aria-pressed": "false" }, "Mask")),
      el("input", { id: "opacity", type: "range", min: "0", max: "1", step: "0.01", value: "0.5", "aria-label": "opacity of the photo" }),
      iconButton("close", "Leave the photo", null, { id: "leave" })),
    el("div", { id: "notices" }));
  const list = el("nav.tabs", { role: "tablist", "aria-label": "panel" }, tabs.map(({ id, name }) =>
    el("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`, "aria-selected": "false" }, name)));
  const panel = el("aside", { id: "panel" }, list, tabs.map(({ id }) =>
    el("section.tab", { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}`, hidden: true })));
  const help = el("dialog", { id: "keys", "aria-labelledby": "keys-title" },
    el("h2", { id: "keys-title" }, "Keyboard and mouse"),
    el("dl", {}, KEYS.map(([what, how]) => el("div", {}, el("dt", {}, what), el("dd", {}, how)))),
    el("form", { method: "dialog" }, el("button.strong", {}, "Close")));
  $("wait")?.remove();
  document.body.classList.remove("starting");
  document.body.prepend(bar, stage, panel, help);

  const open = (id, toggle = false) => {
    const now = list.querySelector("[aria-selected=true]")?.id === `tab-${id}`;
    const folded = document.body.classList.contains("folded");
    document.body.classList.toggle("folded", toggle && now && !folded);
    for (const { id: other } of tabs) {
      $(`tab-${other}`).setAttribute("aria-selected", String(other === id));
      $(`panel-${other}`).hidden = other !== id;
    }
  };
  for (const { id } of tabs) $(`tab-${id}`).onclick = () => open(id, true);
  list.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!step) return;
    const all = [...list.children], next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.focus();
    open(next.id.slice(4));
    e.stopPropagation();
  });
  open(tabs[0].id);
  return { open };
}

export function message(what, why = "", action = null) {
  const box = $("message");
  box.hidden = !what;
  box.replaceChildren(...(what ? [el("h2", {}, what), why ? el("p.dim", {}, why) : "", action ?? ""] : []));
}
