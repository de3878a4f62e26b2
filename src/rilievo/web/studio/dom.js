// Elements, words for numbers, dialogs. Text from outside becomes text nodes only: nothing here reads HTML.

export const $ = (id) => document.getElementById(id);

/** An element: `tag.class.class`, attributes (`onclick`: a listener; `value`, `checked`...: properties), children. */
export function el(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked" || key === "max") node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Makes the children of `parent` those of `items`, in order; elements that stay are kept (and with them the focus). */
export function keyed(parent, items, keyOf, make, update) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let node = old.get(key);
    if (node) old.delete(key);
    else {
      node = make(item);
      node.dataset.key = key;
    }
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of old.values()) node.remove();
}

/** Sets text only where it differs, so that screen readers are not told the same thing again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** An address of this server, or null: what else a document may hold is not followed. */
export const local = (address) => (typeof address === "string" && /^\/(?![/\\])/.test(address) ? address : null);

// --- words for numbers -----------------------------------------------------------------------------------------------

export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export function bytes(n) {
  if (!Number.isFinite(n)) return "";
  for (const [unit, size] of [
    ["GB", 1e9],
    ["MB", 1e6],
    ["kB", 1e3],
  ])
    if (n >= size) return `${(n / size).toFixed(n >= 100 * size ? 0 : 1)} ${unit}`;
  return `${n} bytes`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A prediction, rounded as roughly as it is known. */
export function roughly(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 10) return "a few seconds";
  const step = seconds < 60 ? 5 : seconds < 300 ? 30 : seconds < 3600 ? 60 : 600;
  return `about ${duration(Math.ceil(seconds / step) * step)}`;
}

export function day(moment) {
  const date = typeof moment === "number" ? new Date(moment * 1000) : new Date(moment);
  if (Number.isNaN(date.getTime())) return "";
  const today = new Date().toDateString() === date.toDateString();
  const hour = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return today
    ? `today ${hour}`
    : date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

// --- messages --------------------------------------------------------------------------------------------------------

/** What happened, why, what to do, where there is room for a line only. */
export const inOneLine = ({ what, why, hint }) =>
  `${why ? `${what}: ${why}` : what}.${hint ? ` ${hint[0].toUpperCase()}${hint.slice(1).replace(/\.$/, "")}.` : ""}`;

/** What happened, why, what to do. */
export function troubleBox(error, ...actions) {
  const what = error.what ?? error.error ?? error.message ?? String(error);
  return el(
    "div.trouble",
    { role: "alert" },
    el("h3", {}, what),
    error.why ? el("p", {}, el("b", {}, "Why: "), error.why) : null,
    error.hint ? el("p", {}, el("b", {}, "What to do: "), error.hint) : null,
    actions.length ? el("div.row", {}, actions) : null,
  );
}

/** The line above everything while the studio does not answer; null: it does. */
export function showSilence(line, trouble) {
  line.hidden = trouble === null;
  if (trouble) say(line, `${trouble[0]}: ${trouble[1]}. What to do: ${trouble[2]}.`);
}

/** A short message at the bottom that goes by itself; a problem stays until it is put away. */
export function notice(error) {
  const shelf = $("notices"),
    problem = typeof error !== "string";
  const away = el(
    "button",
    { type: "button", "aria-label": "put this message away", onclick: () => box.remove() },
    "×",
  );
  const box = problem
    ? el("div.notice.problem", {}, troubleBox(error), away)
    : el("div.notice", { role: "status" }, el("p", {}, error), away);
  while (shelf.childElementCount > 2) shelf.firstElementChild.remove();
  shelf.append(box);
  if (!problem) setTimeout(() => box.remove(), 5000);
}

/** Asks before something is lost. Resolves to true or false; Escape is no. */
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    const no = el("button.outlined", { type: "button", onclick: () => box.close("no") }, "Keep");
    const yes = el("button.danger.strong", { type: "button", onclick: () => box.close("yes") }, action);
    const box = el(
      "dialog.confirm",
      { "aria-labelledby": "confirm-title" },
      el("h2", { id: "confirm-title" }, title),
      el("p", {}, text),
      el("div.row.end", {}, no, yes),
    );
    box.addEventListener("close", () => {
      box.remove();
      resolve(box.returnValue === "yes");
    });
    document.body.append(box);
    box.showModal();
    no.focus();
  });
}
