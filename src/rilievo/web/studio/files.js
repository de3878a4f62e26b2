// Files from a file dialog or a drop, folders walked, each with the name under which it is sent.

// What rilievo reads (rilievo.io.pixels); browsers know no type for most raw files.
const RAW =
  "3fr arw cr2 cr3 crw dcr dng erf fff iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f".split(" ");
const PHOTOS = "jpg jpeg jpe jfif png tif tiff heic heif hif webp bmp".split(" ");
const VIDEOS = "mp4 mov m4v avi mkv webm mts m2ts 3gp".split(" ");
const ACCEPTED = new Set([...RAW, ...PHOTOS, ...VIDEOS, "zip"]);
const TYPES = ["image/*", "video/*", ...[...ACCEPTED].map((ending) => `.${ending}`)].join(",");
const accepted = (file) => ACCEPTED.has(file.name.split(".").pop().toLowerCase()) || /^(image|video)\//.test(file.type);

/** [{name, file}] of [{path, file}]. Subfolders become part of the name, so that their IMG_0001s stay apart; the same
 *  files chosen again get the same names. `skipped`: how many are neither photo nor video. */
export function named(found) {
  const parts = found.map(({ path }) => path.split("/").filter(Boolean));
  const folders = new Set(parts.map((p) => (p.length > 1 ? p[0] : "")));
  const shared = folders.size === 1 && !folders.has("") ? 1 : 0;
  const items = [],
    names = new Set();
  let skipped = 0;
  found.forEach(({ file }, i) => {
    if (file.name.startsWith(".")) return;
    if (!accepted(file)) {
      skipped += 1;
      return;
    }
    let name = parts[i].slice(shared).join("-");
    for (let n = 2; names.has(name); n += 1)
      name = parts[i]
        .slice(shared)
        .join("-")
        .replace(/(?=\.[^.]*$)/, `-${n}`);
    names.add(name);
    items.push({ name, file, size: file.size });
  });
  return { items, skipped, folder: shared ? parts[0]?.[0] : null };
}

/** Opens the browser's dialog. folder: a whole folder; camera: take a picture now. Resolves to what `named` gives. */
export function choose({ folder = false, camera = null } = {}) {
  const input = document.createElement("input");
  input.type = "file";
  input.multiple = true;
  input.accept = camera ?? TYPES;
  if (folder) input.webkitdirectory = true;
  if (camera) input.setAttribute("capture", "environment");
  input.className = "unseen";
  input.tabIndex = -1;
  input.setAttribute("aria-hidden", "true");
  document.body.append(input);
  return new Promise((resolve) => {
    const end = (files) => {
      input.remove();
      resolve(named(files.map((file) => ({ path: file.webkitRelativePath || file.name, file }))));
    };
    input.addEventListener("change", () => end([...input.files]));
    input.addEventListener("cancel", () => end([]));
    input.click();
  });
}

/** What was dropped, folders walked. */
export async function dropped(transfer) {
  // Entries must be taken before the first await: afterwards the list is empty.
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return named(found);
}

async function walk(entry, under, found) {
  if (entry instanceof File) found.push({ path: entry.name, file: entry });
  else if (entry?.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file) found.push({ path: under + entry.name, file });
  } else if (entry?.isDirectory) {
    const reader = entry.createReader();
    for (;;) {
      // it gives a hundred at a time
      const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
      if (!some.length) break;
      for (const inner of some) await walk(inner, `${under}${entry.name}/`, found);
    }
  }
}

/** Makes `area` take drops: shows it, and calls `take(named files)`. Returns a function that ends that. */
export function takesDrops(area, take) {
  let depth = 0;
  const has = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const mark = () => area.classList.toggle("dropping", depth > 0);
  const listeners = {
    dragenter: (event) => {
      if (has(event)) {
        event.preventDefault();
        depth += 1;
        mark();
      }
    },
    dragover: (event) => {
      if (has(event)) event.preventDefault();
    },
    dragleave: (event) => {
      if (has(event)) {
        depth = Math.max(0, depth - 1);
        mark();
      }
    },
    drop: async (event) => {
      if (!has(event)) return;
      event.preventDefault();
      depth = 0;
      mark();
      take(await dropped(event.dataTransfer));
    },
  };
  for (const [name, listener] of Object.entries(listeners)) area.addEventListener(name, listener);
  return () => {
    area.classList.remove("dropping");
    for (const [name, listener] of Object.entries(listeners)) area.removeEventListener(name, listener);
  };
}
