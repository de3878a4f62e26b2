// The gallery of houses, and the page that makes a new one.

import { ask, house, poll } from "./api.js";
import { bytes, confirmed, day, duration, el, keyed, local, notice, plural, say, troubleBox } from "./dom.js";
import { choose, takesDrops } from "./files.js";
import { STATES, stateOf, paintState } from "./states.js";
import { forgetHouse } from "./store.js";
import { batchOf } from "./upload.js";

export const address = (id, tab) => `#/h/${encodeURIComponent(id)}${tab ? `/${tab}` : ""}`;

/** The first page. */
export function show(root) {
  const list = el("ul.houses", { "aria-label": "houses" });
  const room = el("div");
  const title = el(
    "div.title",
    {},
    el("h1", {}, "Houses"),
    el("p.dim.wide.grow", {}, "Drop photos anywhere here to begin a new one."),
    el("a.button.strong", { href: "#/new" }, "New house"),
  );
  root.classList.add("page");
  root.append(title, room, list);
  const trouble = el("div");
  root.append(trouble);
  let busy = true;

  const watching = poll(
    () => ask("/api/houses"),
    (houses) => {
      trouble.replaceChildren();
      busy = houses.some((one) => ["running", "queued", "uploading"].includes(stateOf(one)));
      if (!houses.length && !room.firstChild) room.append(welcome());
      if (houses.length) room.replaceChildren();
      title.hidden = !houses.length;
      keyed(list, houses, (one) => one.id, card, paintCard);
    },
    (error) => {
      if (error.status !== 0) trouble.replaceChildren(troubleBox(error));
    },
    () => (busy ? 2 : 6),
  );
  const noDrops = takesDrops(root, (found) => begin(found));

  return () => {
    watching.stop();
    noDrops();
  };

  function card(one) {
    const picture = el("div.picture");
    return el(
      "li.card.panel",
      {},
      el("a.cover", { href: address(one.id) }, picture, el("span.name")),
      el("div.line", {}, el("span.state"), el("span.dim.number.size")),
      el("progress", { max: 1, hidden: true, "aria-label": "progress" }),
      el(
        "div.line",
        {},
        el("span.dim.number.when"),
        el("button.danger.small", { type: "button", onclick: () => remove(one.id, one.title) }, "Delete"),
      ),
    );
  }

  function paintCard(node, one) {
    const part = (name) => node.querySelector(name);
    say(part(".name"), one.title || "untitled");
    part(".cover").title = one.title || "untitled";
    part("button").setAttribute("aria-label", `delete ${one.title || "untitled"}`);
    paintState(part(".state"), one);
    say(part(".size"), one.size_bytes ? bytes(one.size_bytes) : "");
    say(
      part(".when"),
      [
        plural(one.num_photos ?? 0, "photo"),
        stateOf(one) === "done" && one.seconds ? `made in ${duration(one.seconds)}` : day(one.created),
      ]
        .filter(Boolean)
        .join(" · "),
    );
    const bar = part("progress");
    bar.hidden = stateOf(one) !== "running";
    if (!bar.hidden && Number.isFinite(one.progress)) bar.value = one.progress;
    else bar.removeAttribute("value");
    const thumb = local(one.thumb),
      picture = part(".picture");
    if ((picture.dataset.thumb ?? "") !== (thumb ?? "") || !picture.firstChild) {
      picture.dataset.thumb = thumb ?? "";
      picture.replaceChildren(
        thumb
          ? el("img", { src: thumb, alt: "", loading: "lazy" })
          : el("span.dim", {}, STATES[stateOf(one)]?.blank ?? "no picture yet"),
      );
    }
  }

  async function remove(id, name) {
    if (await removeHouse(id, name)) watching.now();
  }
}

/** Asks, then deletes. Resolves to whether it is gone. */
export async function removeHouse(id, name) {
  const sure = await confirmed(
    `Delete “${name || "untitled"}”?`,
    "Its photos, models and everything made from them are deleted from this machine. This cannot be undone.",
    "Delete",
  );
  if (!sure) return false;
  try {
    batchOf(id).clear();
    await ask(house(id), { method: "DELETE" });
    forgetHouse(id);
    return true;
  } catch (error) {
    notice(error);
    return false;
  }
}

function welcome() {
  return el(
    "div.welcome",
    {},
    el("h1", {}, "Photos in, measured 3D out"),
    el(
      "p.dim",
      {},
      "A house holds the photos of one place or thing and all that is made from them. There is none yet.",
    ),
    chooser(),
    el(
      "ol.steps.dim",
      {},
      el("li", {}, "Walk around the thing and take 20 to 200 photos; each shows most of what the one before shows."),
      el("li", {}, "Drop them here. They stay on this machine."),
      el("li", {}, "Choose what to make, and watch it grow."),
    ),
  );
}

/** The place where files are dropped or chosen; a new house is made of them. */
function chooser(title = () => "") {
  return el(
    "div.drop",
    {},
    el("p.big", {}, "Drop photos, a folder or a video here"),
    el(
      "p.dim",
      {},
      "JPEG, PNG, TIFF, HEIC, RAW; MP4, MOV. Hundreds are fine; sending goes on after a pause or a reload.",
    ),
    el(
      "div.row.middle",
      {},
      el("button.strong", { type: "button", onclick: async () => begin(await choose(), title()) }, "Choose files"),
      el(
        "button.outlined",
        { type: "button", onclick: async () => begin(await choose({ folder: true }), title()) },
        "Choose a folder",
      ),
    ),
  );
}

/** A new house of these files. */
async function begin({ items, skipped, folder }, title = "") {
  if (!items.length) {
    if (skipped)
      notice({
        what: "There is no photo and no video among these files",
        why: `${plural(skipped, "file")} of other kinds`,
        hint: "choose JPEG, PNG, TIFF, HEIC or RAW photos, or a video",
      });
    return;
  }
  try {
    const { id } = await ask("/api/houses", { json: { title: title || folder || freshTitle() } });
    batchOf(id).add(items);
    if (skipped) notice(`${plural(skipped, "file")} left out: neither photo nor video`);
    location.hash = address(id, "photos");
  } catch (error) {
    notice(error);
  }
}

const freshTitle = () => `House of ${new Date().toLocaleDateString("en-GB", { day: "numeric", month: "long" })}`;

/** The page of a new house. */
export function showNew(root) {
  const title = el("input", {
    type: "text",
    id: "new-title",
    maxlength: 120,
    autocomplete: "off",
    placeholder: freshTitle(),
  });
  const empty = el(
    "button",
    {
      type: "button",
      onclick: async () => {
        try {
          const { id } = await ask("/api/houses", { json: { title: title.value.trim() || freshTitle() } });
          location.hash = address(id, "photos");
        } catch (error) {
          notice(error);
        }
      },
    },
    "Make it without photos for now",
  );
  root.classList.add("page", "narrow");
  root.append(
    el("h1", {}, "New house"),
    el("label.field", { for: "new-title" }, el("span", {}, "Name"), title),
    chooser(() => title.value.trim()),
    el("div.row", {}, empty, el("a.button", { href: "#/" }, "Cancel")),
    el(
      "details.tips",
      {},
      el("summary", {}, "How to take photos that make a good model"),
      el(
        "ul",
        {},
        el("li", {}, "Move between photos; do not turn on the spot. A step aside for a room, 10° for a thing."),
        el("li", {}, "Each part must be on three photos or more, from different places."),
        el("li", {}, "Hold still, or give more light: blurred photos measure nothing."),
        el("li", {}, "Shiny, transparent and plain white things are hard: put something with texture beside them."),
        el("li", {}, "For true lengths: photos with GPS, or one length that you know, set later in the viewer."),
      ),
    ),
  );
  const phone = el("p.dim");
  root.append(phone);
  ask("/api/state").then(
    (state) => {
      phone.textContent = state.lan
        ? "With a phone as camera: open the address that `rilievo serve` printed for phones."
        : "With a phone as camera: start `rilievo serve` with --host and this machine's address in your network.";
    },
    () => {}, // it is a hint only
  );
  return takesDrops(root, (found) => begin(found, title.value.trim()));
}
