// Questions to the server. Whatever goes wrong arrives as a Trouble: what, why, what to do.
//
// What the pages read of the server's documents (times are seconds since 1970 or ISO 8601):
// house  {id, title, created, status, num_photos, thumb, seconds, size_bytes, progress?}
// photo  {name, given?, kind: photo or video, checked, thumb, sharpness: blur in px, warnings: [text]}
// job    {id, house_id, title, makes, quality, status, created, started, finished, seconds, progress, eta_s, stage,
//         stages: [{name, done, total, seconds}], log_tail: text or lines, error: {what, why, hint} or null}
// export {name, bytes, kind, url};  state {machine: {threads, free_disk_mb}}

export class Trouble extends Error {
  constructor(status, what, why = "", hint = "", document_ = null) {
    super(what);
    Object.assign(this, { status, what, why, hint, document: document_ });
  }
}

const SILENT = [
  "The studio does not answer",
  "the connection to `rilievo serve` is lost",
  "look whether it still runs; this page goes on by itself once it is back",
];

const LOCKED = [
  "This page has no key to the studio",
  "the server was started anew, or the address was typed by hand",
  "open the address that `rilievo serve` printed",
];
const UNKNOWN = [
  "The studio could not do that",
  "it answered in a way that this page does not know",
  "try it again; the terminal of `rilievo serve` may say more",
];

/** JSON from `place`. json: what is sent; body: raw bytes instead. Raises Trouble; status 0: no answer at all. */
export async function ask(place, { method, json, body, headers = {}, signal } = {}) {
  const how = {
    method: method ?? (json === undefined ? "GET" : "POST"),
    headers: { ...headers },
    signal,
    cache: "no-store",
  };
  if (json !== undefined) {
    how.headers["Content-Type"] = "application/json";
    how.body = JSON.stringify(json);
  } else if (body !== undefined) {
    how.headers["Content-Type"] = "application/octet-stream";
    how.body = body;
  }
  let answer;
  try {
    answer = await fetch(place, how);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    hear(SILENT);
    throw new Trouble(0, ...SILENT);
  }
  if (answer.status !== 401) hear(null);
  let document_ = null;
  try {
    document_ = answer.status === 204 ? null : await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (answer.ok) throw new Trouble(0, ...SILENT);
  }
  if (answer.ok) return document_;
  const told = typeof document_?.error === "string" ? document_ : null;
  if (answer.status === 401) {
    // As good as no answer: the page waits until its key fits again.
    const locked = told ? [told.error, told.why, told.hint] : LOCKED;
    hear(locked);
    throw new Trouble(0, ...locked);
  }
  if (told) throw new Trouble(answer.status, told.error, told.why, told.hint, told);
  throw new Trouble(answer.status, UNKNOWN[0], `${UNKNOWN[1]} (status ${answer.status})`, UNKNOWN[2]);
}

export const house = (id, ...rest) =>
  ["/api/houses", id, ...rest].map((part, i) => (i ? encodeURIComponent(part) : part)).join("/");

// --- is it there? ----------------------------------------------------------------------------------------------------

let silence = null;
const listeners = new Set();

/** Calls `tell` with [what, why, what to do] when the studio falls silent, and with null once it answers again. */
export const onSilence = (tell) => listeners.add(tell);

function hear(trouble) {
  if (trouble?.[0] === silence?.[0]) return;
  silence = trouble;
  for (const tell of listeners) tell(silence);
}

/** Asks again and again, one question at a time: `ask_` every `seconds()` s, `tell` or `fail` with what comes.
 *  Returns {stop, now}; now() asks at once. */
export function poll(ask_, tell, fail, seconds) {
  let timer = 0,
    stopped = false,
    running = null;
  const round = async () => {
    clearTimeout(timer);
    try {
      const value = await ask_();
      if (!stopped) tell(value);
    } catch (error) {
      if (!stopped && error.name !== "AbortError") fail(error);
    }
    running = null;
    if (!stopped) timer = setTimeout(now, 1000 * (document.hidden ? Math.max(5, seconds()) : seconds()));
  };
  const now = () => (running ??= round());
  now();
  return {
    now: async () => {
      await running;
      return now();
    },
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
