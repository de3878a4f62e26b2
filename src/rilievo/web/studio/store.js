// Files that are not sent yet, kept in the browser, so that a reload does not lose them.
// Everything here is a convenience: where the browser keeps nothing, uploads work all the same.

const LIMIT = 512e6; // bytes of files that are copied into the browser's own store; beyond, only their names are kept

let opened = null;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("rilievo-studio", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("files", { keyPath: ["house", "name"] });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function change(work) {
  try {
    const base = await open();
    await new Promise((resolve, reject) => {
      const transaction = base.transaction("files", "readwrite");
      transaction.oncomplete = resolve;
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
      work(transaction.objectStore("files"));
    });
    return true;
  } catch {
    return false;
  }
}

/** Remembers [{name, size, file}] of a house; the files themselves while they are few enough.
 *  still(name): whether it is not sent yet. */
export async function keep(house, items, still) {
  const known = await change((files) => {
    for (const { name, size } of items) files.put({ house, name, size, file: null });
  });
  let total = items.reduce((sum, item) => sum + item.size, 0);
  if (!known || total > LIMIT) return;
  for (const { name, size, file } of items)
    if (still(name)) {
      if (!(await change((files) => files.put({ house, name, size, file })))) return;
      if (!still(name)) await forget(house, name);
    } else await forget(house, name);
}

export const forget = (house, name) => change((files) => files.delete([house, name]));

export const forgetHouse = (house) => change((files) => files.delete(IDBKeyRange.bound([house], [house, []])));

/** What was left unsent: [{house, name, size, file or null}]. */
export async function kept() {
  try {
    const base = await open();
    return await new Promise((resolve, reject) => {
      const request = base.transaction("files").objectStore("files").getAll();
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } catch {
    return [];
  }
}
