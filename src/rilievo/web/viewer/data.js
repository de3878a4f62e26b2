// Where scenes and layers come from: the server that shows this page, or the page itself when it was shared.

const share = window.rilievoShare ?? null;

export const shared = share !== null;
const folder = new URL(".", document.baseURI);

/** What went wrong, in three parts: what, why, what to do. */
export class Trouble extends Error {
  constructor(what, why = "", hint = "") {
    super(what);
    Object.assign(this, { what, why, hint });
  }
}

const GONE = ["rilievo does not answer", "the program that shows this page has ended", "start it again, then reload this page"];

async function asked(address, options) {
  let answer;
  try {
    answer = await fetch(new URL(address, folder), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(...GONE);
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let told = null;
  try {
    told = JSON.parse(text);
  } catch { /* plain text */ }
  const detail = told?.detail; // of the studio, where the house is gone
  throw new Trouble(told?.error ?? (typeof detail === "string" ? detail : text.trim() || `status ${answer.status}`),
    told?.why, told?.hint);
}

/** The manifest; null when it is still the one of this revision. */
export async function scene(rev) {
  if (share) return rev === undefined ? share.scene : null;
  const told = await (await asked(rev === undefined ? "scene.json" : `scene.json?rev=${rev}`)).json();
  return told.unchanged ? null : told;
}

export async function file(address, signal) {
  if (share) return share.file(address);
  return (await asked(address, { signal })).arrayBuffer();
}

export async function json(address) {
  return (await asked(address)).json();
}

export async function blob(address, signal) {
  const answer = await asked(address, { signal });
  return answer.status === 204 ? null : { blob: await answer.blob(), headers: answer.headers };
}

export async function post(place, body) {
  const answer = await asked(place, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return answer.json();
}
