// The tab of the viewer, in a frame of its own.

import { house } from "./api.js";
import { el } from "./dom.js";

export function showView(root, page) {
  let state = null;

  function update(one) {
    // A running house shows what there is; it is loaded anew when the job has ended.
    const wanted =
      one.status === "done"
        ? "done"
        : ["running", "failed", "cancelled", "queued"].includes(one.status)
          ? "part"
          : "none";
    if (wanted === state) return;
    state = wanted;
    if (wanted === "none") {
      root.replaceChildren(
        el(
          "div.nothing",
          {},
          el("h2", {}, "There is nothing to see yet"),
          el(
            "p.dim",
            {},
            one.num_photos ? "Choose what to make of the photos." : "Add photos, then choose what to make of them.",
          ),
          el(
            "a.button.strong",
            { href: `#/h/${encodeURIComponent(page.id)}/${one.num_photos ? "make" : "photos"}` },
            one.num_photos ? "Choose what to make" : "Add photos",
          ),
        ),
      );
      return;
    }
    const address = `${house(page.id, "view")}/`;
    root.replaceChildren(
      el("iframe.viewer", { src: address, title: "viewer", allow: "fullscreen", allowfullscreen: true }),
      el("p.own-tab", {}, el("a", { href: address, target: "_blank", rel: "noopener" }, "Open in a tab of its own")),
    );
  }

  return {
    update,
    stop() {
      root.replaceChildren();
    },
  };
}
