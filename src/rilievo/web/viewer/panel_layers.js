// The panel's first tab: layers on and off, how they look, comparison, guides, crop box.

import { gradient } from "./colors.js";
import { $, bytes, count, el, short } from "./dom.js";
import { BACKGROUNDS } from "./stage.js";

const LOOKS = { textured: "Colour", shaded: "Shaded", sigma: "Uncertainty", color: "Colour", value: "Uncertainty" };

export function segments(label, options, chosen, onchoose) {
  return el("div.segments", { role: "group", "aria-label": label }, options.map(([key, name]) =>
    el("button", { type: "button", "aria-pressed": String(key === chosen), onclick: () => onchoose(key) }, name)));
}

export function check(label, on, onchange, attributes = {}) {
  return el("label.check", {}, el("input", { type: "checkbox", checked: on, onchange: (e) => onchange(e.target.checked), ...attributes }), el("span", {}, label));
}

export function layersPanel(viewer, root) {
  const { layers, stage, guides, photos } = viewer;
  const list = el("ul.layers", { "aria-label": "layers" }), compare = el("div"), crop = el("div"), problems = el("div");
  const grid = check("Grid", true, (on) => { guides.grid = on; guides.build(); viewer.gridNote(); }, { id: "grid-on" });
  const parallel = check("No perspective", false, (on) => stage.setParallel(on), { id: "parallel-on" });
  stage.addEventListener("parallel", () => { $("parallel-on").checked = stage.parallel; });
  root.append(list, problems, el("section", {}, el("h3", {}, "Compare"), compare),
    el("section", {}, el("h3", {}, "View"),
      el("div.row", {}, grid, check("Axes", true, (on) => { guides.axes = on; guides.build(); })),
      parallel,
      el("label.field", {}, el("span", {}, "Background"), el("select", { onchange: (e) => stage.setBackground(e.target.value) },
        Object.keys(BACKGROUNDS).map((name) => el("option", { value: name }, name))))),
    el("section", {}, check("Crop box", false, (on) => {
      guides.crop = on ? guides.cropBefore ?? [0, 1, 0, 1, 0, 1] : null;
      guides.clip();
      showCrop();
    }, { id: "crop-on" }), crop));

  function row(layer) {
    const { entry } = layer;
    const facts = [count(entry.count), entry.kind === "mesh" ? "faces" : entry.kind === "splats" ? "Gaussians" : entry.kind === "cloud" || entry.kind === "sparse" ? "points" : entry.kind === "inferred" ? "faces" : ""].filter(Boolean).join(" ");
    const options = [];
    if (layer.on && layer.looks?.length > 1) {
      const names = layer.looks.map((k) => [k, k === "value" && entry.kind === "sparse" ? "Error" : LOOKS[k]]);
      options.push(segments(`look of ${entry.name}`, names, layer.look, (k) => { layer.look = k; layer.dress(); fill(); viewer.legend(); }));
    }
    if (layer.on && entry.kind === "mesh") options.push(check("Wires", layer.wires, (on) => { layer.wires = on; layer.dress(); }));
    if (layer.on && (entry.kind === "cloud" || entry.kind === "sparse"))
      options.push(el("label.field", {}, el("span", {}, "Point size"), el("input", { type: "range", min: "0.4", max: "3", step: "0.1", value: layer.size,
        oninput: (e) => { layer.size = Number(e.target.value); stage.invalidate(); } })));
    if (layer.on && layer.streamed) options.push(el("p.dim.small", {}, "Drawn by this computer's processor: no graphics card was found."));
    if (layer.error) options.push(el("p.bad.small", {}, layer.error.what ?? layer.error.message));
    return el("li", {},
      el("label.layer", {}, el("input", { type: "checkbox", checked: layer.on, "data-layer": entry.id, onchange: (e) => { layers.set(entry.id, e.target.checked); } }),
        el("span.name", {}, entry.name), el("span.dim.number", { title: bytes(entry.bytes) }, facts)),
      options.length ? el("div.options", {}, options) : null);
  }

  function fill() {
    const focused = document.activeElement?.dataset?.layer;
    const rows = [...layers.all.values()].map(row);
    const num = photos.placed().length;
    if (num) rows.push(el("li", {}, el("label.layer", {},
      el("input", { type: "checkbox", checked: photos.on, "data-layer": "cameras", onchange: (e) => photos.show(e.target.checked) }),
      el("span.name", {}, "Cameras"), el("span.dim.number", {}, `${num} photos`))));
    list.replaceChildren(...(rows.length ? rows : [el("li.none.dim", {}, "No layers yet.")]));
    if (focused) list.querySelector(`[data-layer="${CSS.escape(focused)}"]`)?.focus();
    problems.replaceChildren(...viewer.scene.problems.map((p) =>
      el("div.trouble", {}, el("h3", {}, p.error), p.why ? el("p.dim", {}, p.why) : null, p.hint ? el("p.dim", {}, p.hint) : null)));
    showCompare();
  }

  function showCompare() {
    const sides = layers.sides(viewer.scene.houses), on = layers.compare;
    const section = compare.parentElement;
    section.hidden = sides.length < 2;
    const choose = (side) => el("label.field", {}, el("span", {}, side === "left" ? "Left" : "Right"), el("select", {
      onchange: (e) => viewer.compare(side === "left" ? e.target.value : on.left, side === "right" ? e.target.value : on.right) },
      sides.map(([key, name]) => el("option", { value: key, selected: on?.[side] === key }, name))));
    compare.replaceChildren(check("Split the picture", Boolean(on), () => $("compare-button").click()), ...(on ? [choose("left"), choose("right")] : []));
  }

  function showCrop() {
    if (!guides.crop) { crop.replaceChildren(); return; }
    const names = ["left", "right", "front", "back", "bottom", "top"];
    crop.replaceChildren(...names.map((name, k) => el("label.field", {}, el("span", {}, `From ${name}`), el("input", {
      type: "range", min: "0", max: "1", step: "0.005", value: k % 2 ? 1 - guides.crop[k] : guides.crop[k], "aria-label": `crop from the ${name}`,
      oninput: (e) => {
        const t = Number(e.target.value);
        guides.crop[k] = k % 2 ? Math.max(1 - t, guides.crop[k - 1]) : Math.min(t, guides.crop[k + 1]);
        guides.cropBefore = guides.crop;
        guides.clip();
      } }))), el("p.dim.small", {}, "Splats are not cut."));
  }

  viewer.addEventListener("legend", () => {
    const box = $("legend");
    const one = [...layers.all.values()].find((l) => l.active && (l.look === "sigma" || l.look === "value") && (l.range ?? l.entry.sigma_range));
    box.hidden = !one;
    if (!one) return;
    const [lo, hi] = one.range ?? one.entry.sigma_range, sparse = one.entry.kind === "sparse";
    const k = sparse ? 1 : viewer.scene.saved.scale ?? 1;
    box.replaceChildren(el("p", {}, sparse ? "Reprojection error, px" : `Uncertainty, 1 σ, ${viewer.unit}`),
      el("div.ramp", {}), el("div.row.ends.number", {}, el("span", {}, short(lo * k)), el("span", {}, short(Math.sqrt(lo * hi) * k)), el("span", {}, short(hi * k))),
      el("p.dim.small", {}, el("span.swatch", {}), "not known"));
    box.querySelector(".ramp").style.background = gradient;
  });
  viewer.addEventListener("switch", ({ what }) => {
    if (what === "grid") $("grid-on").click();
    const mesh = [...layers.all.values()].find((l) => l.on && l.entry.kind === "mesh");
    if (!mesh || what === "grid") return;
    if (what === "wires") mesh.wires = !mesh.wires;
    else mesh.look = mesh.looks[(mesh.looks.indexOf(mesh.look) + 1) % mesh.looks.length];
    mesh.dress();
    fill();
    viewer.legend();
  });
  layers.addEventListener("change", fill);
  viewer.addEventListener("scene", fill);
  viewer.addEventListener("compare", fill);
}
