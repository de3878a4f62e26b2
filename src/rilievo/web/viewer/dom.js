// Elements, icons, words for numbers. Text from outside becomes text nodes only: nothing here reads HTML.

export const $ = (id) => document.getElementById(id);

/** An element: `tag.class.class`, attributes (`onclick`: a listener; `value`, `checked`...: properties), children. */
export function el(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(key.slice(2), value);
    else if (["value", "checked", "max", "hidden"].includes(key)) node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// Drawn on 20 x 20, one stroke.
const ICONS = {
  camera: "M3 6.5h3.2L7.6 4.5h4.8l1.4 2H17v9H3zM10 8.2a2.8 2.8 0 1 0 .01 0",
  full: "M3 7.5V3h4.5M12.5 3H17v4.5M17 12.5V17h-4.5M7.5 17H3v-4.5",
  help: "M7.3 7.4a2.7 2.7 0 1 1 4 2.4c-.9.5-1.3 1-1.3 2M10 14.6v.2M10 2.5a7.5 7.5 0 1 0 .01 0",
  distance: "M3 17 17 3M3 13v4h4M13 3h4v4",
  path: "M3 16l4-8 5 5 5-10",
  height: "M10 3v14M7 6l3-3 3 3M7 14l3 3 3-3",
  angle: "M16.5 16H3.5L14 4M9.5 16a6 6 0 0 0-2-4.6",
  area: "M4 7l7-4 6 5-3 8-9 .5zM4 7v0",
  volume: "M10 2.8l6.5 3.6v7.2L10 17.2l-6.5-3.6V6.4zM3.5 6.4 10 10l6.5-3.6M10 10v7.2",
  section: "M2.5 12.5 10 8l7.5 4.5L10 17zM10 2.5V8M7 5h6",
  scale: "M2.5 7.5h15v5h-15zM6 7.5V10M9.5 7.5V10M13 7.5V10",
  up: "M10 17V3M6 7l4-4 4 4M4 17h12",
  origin: "M10 2.5v15M2.5 10h15M10 6.2a3.8 3.8 0 1 0 .01 0",
  left: "M12.5 4 6.5 10l6 6",
  right: "M7.5 4l6 6-6 6",
  close: "M5 5l10 10M15 5 5 15",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.7 11h7.6l.7-11",
  pen: "M4 16l.7-3.2L13 4.5l2.5 2.5-8.3 8.3z",
  split: "M10 2.5v15M7 7l-3 3 3 3M13 7l3 3-3 3",
};

export function icon(name) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(ns, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon and words, or with the words as its name only. */
export function iconButton(name, words, onclick, attributes = {}) {
  return el("button.square", { type: "button", "aria-label": words, title: words, onclick, ...attributes }, icon(name));
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function count(n) {
  if (!Number.isFinite(n)) return "";
  if (n >= 1e6) return `${(n / 1e6).toFixed(n >= 1e7 ? 0 : 1)} M`;
  return n >= 1e4 ? `${Math.round(n / 1e3)} k` : String(n);
}

export function bytes(n) {
  if (!Number.isFinite(n) || !n) return "";
  return n >= 1e6 ? `${(n / 1e6).toFixed(n >= 1e7 ? 0 : 1)} MB` : `${Math.max(1, Math.round(n / 1e3))} kB`;
}

/** Three digits that mean something. */
export function short(x) {
  if (!Number.isFinite(x)) return "";
  if (x === 0) return "0";
  const a = Math.abs(x);
  return a >= 1e-3 && a < 1e5 ? String(Number(x.toPrecision(3))) : x.toExponential(1);
}

/** Saves bytes or an address under a name. */
export function download(what, name) {
  const link = el("a", { href: typeof what === "string" ? what : URL.createObjectURL(what), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  if (typeof what !== "string") setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** A message at the bottom of the picture; problems ({what, why, hint}) stay until they are put away. */
export function notice(said) {
  const problem = typeof said !== "string";
  const what = problem ? said.what ?? said.message ?? String(said) : said;
  const away = iconButton("close", "put this message away", () => box.remove());
  const box = el(
    problem ? "div.notice.problem" : "div.notice",
    { role: problem ? "alert" : "status" },
    el("div", {}, el("p", {}, what), problem && said.why ? el("p.dim", {}, said.why) : null,
      problem && said.hint ? el("p.dim", {}, said.hint) : null),
    away,
  );
  const shelf = $("notices");
  while (shelf.childElementCount > 1) shelf.firstElementChild.remove();
  shelf.append(box);
  if (!problem) setTimeout(() => box.remove(), 5000);
}
