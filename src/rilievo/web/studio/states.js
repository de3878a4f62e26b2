// The states of a house and of a job: their words and colours.

import { say } from "./dom.js";
import { busy } from "./upload.js";

// blank: what stands where its picture will be
export const STATES = {
  empty: { word: "empty", blank: "no photos yet" },
  uploading: { word: "receiving photos", blank: "receiving photos" },
  ready: { word: "ready to make", blank: "nothing made yet" },
  queued: { word: "waiting" },
  running: { word: "being made" },
  failed: { word: "failed" },
  done: { word: "done" },
  cancelled: { word: "cancelled" },
};

/** The state of a house, what this window sends included. */
export function stateOf(one) {
  const sending = busy().some((batch) => batch.houseId === one.id && !batch.paused);
  return sending && ["empty", "ready", "uploading"].includes(one.status) ? "uploading" : one.status;
}

export function paintState(node, one) {
  const state = stateOf(one);
  node.className = `state ${state in STATES ? state : ""}`;
  say(node, STATES[state]?.word ?? String(state));
}
