// The page for phones: photos go from the camera to a house, with pauses and bad networks in between.

import { ask, house, onSilence, poll } from "./api.js";
import { $, bytes, el, inOneLine, keyed, notice, plural, say, showSilence } from "./dom.js";
import { choose } from "./files.js";
import { paintPicture, waits } from "./photo.js";
import { batchOf, restore, watch } from "./upload.js";

const SHOWN = 12; // of the last photos

let batch = null,
  following = null;

onSilence((trouble) => showSilence($("silence"), trouble));

// --- which house -----------------------------------------------------------------------------------------------------

async function pick() {
  following?.stop();
  following = batch = null;
  $("pick").hidden = false;
  $("shoot").hidden = true;
  try {
    const houses = (await ask("/api/houses")).slice(0, 20);
    $("old").hidden = !houses.length;
    keyed(
      $("houses"),
      houses,
      (one) => one.id,
      (one) =>
        el(
          "li",
          {},
          el(
            "button.outlined",
            { type: "button", onclick: () => open(one.id, one.title) },
            el("b", {}, one.title || "untitled"),
            el("span.dim.number", {}, plural(one.num_photos ?? 0, "photo")),
          ),
        ),
      () => {},
    );
  } catch (error) {
    notice(error);
  }
}

$("new").addEventListener("submit", async (event) => {
  event.preventDefault();
  const title =
    $("name").value.trim() || `House of ${new Date().toLocaleDateString("en-GB", { day: "numeric", month: "long" })}`;
  try {
    const { id } = await ask("/api/houses", { json: { title } });
    $("name").value = "";
    open(id, title);
  } catch (error) {
    notice(error);
  }
});

$("other").addEventListener("click", () => {
  location.hash = "";
});

function open(id, title) {
  location.hash = encodeURIComponent(id);
  batch = batchOf(id);
  $("pick").hidden = true;
  $("shoot").hidden = false;
  say($("title"), title || "untitled");
  $("make").href = `/#/h/${encodeURIComponent(id)}/make`;
  $("photos").replaceChildren();
  paint();
  let unseen = false;
  following?.stop();
  following = poll(
    () => ask(house(id, "photos")),
    (photos) => {
      unseen = photos.some(waits);
      say($("count"), photos.length ? `${plural(photos.length, "photo")} in the house` : "No photos in the house yet.");
      keyed(
        $("photos"),
        photos.slice(-SHOWN).reverse(),
        (photo) => photo.name,
        () => el("li.photo", {}, el("div.picture"), el("p.warnings")),
        (node, photo) => {
          paintPicture(node.querySelector(".picture"), photo);
          node.classList.toggle("warned", photo.warnings?.length > 0);
          say(node.querySelector(".warnings"), (photo.warnings ?? []).join("; "));
        },
      );
    },
    (error) => {
      if (error.status === 404) pick();
    },
    () => (batch?.counts().open || unseen ? 1 : 4),
  );
}

// --- taking and sending ----------------------------------------------------------------------------------------------

// Phones call every picture of the camera image.jpg: the moment tells them apart.
function fresh(items) {
  const stamp = new Date().toISOString().replace(/[-:]/g, "").replace("T", "-").slice(0, 15);
  return items.map(({ name, size, file }, i) => {
    const common = /^(image|video|trim\..*|capture.*|photo)\.[a-z0-9]+$/i.test(name);
    return { name: common ? `phone-${stamp}-${i + 1}.${name.split(".").pop().toLowerCase()}` : name, size, file };
  });
}

async function take(how) {
  const { items, skipped } = await choose(how);
  if (skipped) notice(`${plural(skipped, "file")} left out: neither photo nor video`);
  if (items.length) batch.add(fresh(items));
}

$("camera").addEventListener("click", () => take({ camera: "image/*" }));
$("film").addEventListener("click", () => take({ camera: "video/*" }));
$("album").addEventListener("click", () => take({}));
$("pause").addEventListener("click", () => (batch.paused ? batch.go() : batch.pause()));
$("again").addEventListener("click", () => batch.retry());

function paint() {
  const count = batch.counts();
  const troubled = batch.items.filter((item) => item.error);
  $("sending-box").hidden = !count.open && !troubled.length && !batch.missing.length;
  $("sent").value = count.bytes ? count.sent / count.bytes : 0;
  say(
    $("words"),
    batch.missing.length && !count.open
      ? `${plural(batch.missing.length, "file")} had not been sent completely: choose them again from the album.`
      : [
          `${count.done} of ${plural(count.total, "file")} sent`,
          `${bytes(count.sent)} of ${bytes(count.bytes)}`,
          batch.paused && count.open ? "paused" : null,
        ]
          .filter(Boolean)
          .join(" · "),
  );
  $("pause").hidden = !count.open;
  say($("pause"), batch.paused ? "Go on" : "Pause");
  $("again").hidden = !count.failed;
  keyed(
    $("problems"),
    troubled,
    (item) => item.name,
    () => el("li", {}, el("b"), el("span")),
    (node, item) => {
      say(node.firstChild, item.name);
      say(node.lastChild, inOneLine(item.error));
    },
  );
}

watch((changed) => {
  if (changed !== batch) return;
  paint();
  if (!batch.counts().open) following?.now();
});

// --- the address says which house, so that a reload stays there ------------------------------------------------------

async function route() {
  const id = decodeURIComponent(location.hash.slice(1));
  if (!id) return pick();
  if (batch?.houseId === id) return undefined;
  try {
    const one = await ask(house(id));
    return open(id, one.title);
  } catch (error) {
    if (error.status !== 404) notice(error);
    location.hash = "";
    return pick();
  }
}

window.addEventListener("hashchange", route);
route();
restore();
