// The panel's tabs of the photos and of what is known about the model.

import * as data from "./data.js";
import { bytes, count, el, notice, plural, short } from "./dom.js";

/** A small picture; an empty field where the file is gone. */
const thumb = ({ thumb: src }) => el("img", { src, alt: "", loading: "lazy", onerror: (e) => e.target.replaceWith(el("span.noimg")) });

export function photosPanel(viewer, root) {
  const { photos } = viewer;
  const told = el("p.dim.small"), placed = el("div.thumbs"), rest = el("section");
  root.append(told, placed, rest);

  function why(k, box) {
    box.replaceChildren(el("p.dim.small", {}, "Looking …"));
    data.json(`why/${k}.json`).then((answer) => box.replaceChildren(el("pre.why", {}, answer.text)), (error) => { box.replaceChildren(); notice(error); });
  }

  function fill() {
    const list = viewer.scene.photos, at = photos.placed(), not = list.map((p, k) => k).filter((k) => !list[k].placed);
    told.textContent = list.length ? `${at.length} of ${plural(list.length, "photo")} placed. Click one to stand where it was taken.` : "There are no photos here.";
    placed.replaceChildren(...at.map((k) => el("button.thumb", { type: "button", "aria-label": `stand in ${list[k].name}`, title: `${list[k].name}${list[k].error_px === null ? "" : ` – ${list[k].error_px.toFixed(2)} px`}`,
      "aria-pressed": String(photos.at === k), onclick: () => photos.stand(k), "data-photo": k }, list[k].thumb ? thumb(list[k]) : null, el("span", {}, list[k].name))));
    rest.hidden = !not.length;
    rest.replaceChildren(el("h3", {}, `Not placed (${not.length})`), el("ul.unplaced", {}, not.map((k) => {
      const box = el("div"), p = list[k];
      return el("li", {}, p.thumb ? thumb(p) : el("span.noimg", {}),
        el("div", {}, el("b", {}, p.name), el("p.small", {}, p.reason ?? "not placed yet"), p.hint ? el("p.dim.small", {}, p.hint) : null,
          viewer.scene.busy ? null : el("button.outlined", { type: "button", "aria-label": `why ${p.name} is not placed`, onclick: () => why(k, box) }, "Why?"), box));
    })));
  }
  let shape = "";
  viewer.addEventListener("scene", () => {
    const now = JSON.stringify(viewer.scene.photos.map((p) => [p.name, p.placed, p.reason, p.thumb]));
    if (now !== shape) fill();
    shape = now;
  });
  photos.addEventListener("change", () => {
    for (const b of placed.children) b.setAttribute("aria-pressed", String(Number(b.dataset.photo) === photos.at));
  });
}

/** A length of the report, in the unit that is shown. */
const length = (v, _, viewer) => `${short(v * (viewer.scene.saved.scale ?? 1))} ${viewer.unit}`;
const FACTS = [
  ["photos_placed", "Photos placed", (v, f) => `${v} of ${f.photos_total ?? v}`], ["reprojection_error_px", "Reprojection error", (v) => `${v.toFixed(2)} px`],
  ["sparse_points", "Sparse points", count], ["points", "Dense points", count], ["triangles", "Triangles", count], ["sigma_median", "Uncertainty (1 σ, median)", length],
  ["gsd", "Size of a pixel on the model", length], ["holes", "Holes", String], ["inferred_share", "Not measured", (v) => `${(100 * v).toFixed(1)} %`],
  ["quality", "Quality", String], ["seconds", "Made in", (v) => `${Math.round(v)} s`],
];

export function aboutPanel(viewer, root) {
  const fill = () => {
    const { scene, stage } = viewer, facts = scene.facts ?? {};
    const rows = FACTS.filter(([key]) => facts[key] !== null && facts[key] !== undefined).map(([key, name, say]) => [name, say(facts[key], facts, viewer)]);
    rows.push(["Unit", viewer.unit]);
    for (const layer of scene.layers) if (layer.bytes) rows.push([layer.name, bytes(layer.bytes)]);
    root.replaceChildren(el("h2", {}, scene.title), facts.verdict ? el("p.verdict", {}, facts.verdict) : "",
      ...(facts.warnings ?? []).map((w) => el("p.bad.small", {}, typeof w === "string" ? w : w.what ?? JSON.stringify(w))),
      el("dl.facts", {}, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd.number", {}, value)))),
      scene.unit_note ? el("p.dim.small", {}, scene.unit_note) : "",
      scene.up_known ? "" : el("p.dim.small", {}, "Which way is up is guessed: set it in Measure."),
      scene.report ? el("p", {}, el("a", { href: scene.report, target: "_blank", rel: "noopener" }, "Quality report")) : "",
      el("p.dim.small", {}, stage.software ? "Drawn without a graphics card." : `Drawn by ${stage.gl}.`));
  };
  viewer.addEventListener("scene", fill);
  viewer.addEventListener("frame", fill);
}
