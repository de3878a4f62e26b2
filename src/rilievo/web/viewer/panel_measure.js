// The panel's tab of measures, section plane, scale, up and origin.

import * as data from "./data.js";
import { check, segments } from "./panel_layers.js";
import { el, icon, iconButton, notice } from "./dom.js";
import { MEASURES, TOOLS } from "./tools.js";

const UNITS = ["m", "cm", "mm", "km", "in", "ft"];

export function measurePanel(viewer, root) {
  const { tools, guides, stage } = viewer;
  const buttons = el("div.tools", { role: "group", "aria-label": "measures" }), list = el("ul.measures", { "aria-label": "measures taken" });
  const foot = el("div.row"), section = el("div"), frame = el("div"), ask = el("div");
  const plane = el("section", {}, check("Section plane", false, (on) => {
    guides.section = on ? { axis: "up", at: 0.5, flip: false } : null;
    guides.clip();
    showSection();
  }, { id: "section-on" }), section);
  root.append(...(data.shared ? [list] : [buttons, ask, list, foot, plane, el("section", {}, el("h3", {}, "Scale, up, origin"), frame)]));

  const toolButton = (kind) => el("button.tool", { type: "button", "data-tool": kind, "aria-pressed": String(tools.kind === kind), onclick: () => tools.start(kind) },
    icon(kind), el("span", {}, TOOLS[kind].name));

  function row(m) {
    const title = data.shared ? el("b", {}, m.name ?? m.kind) : el("input.plain", { type: "text", value: m.name ?? m.kind, maxlength: "200",
      "aria-label": `name of ${m.name ?? m.kind}`, onchange: (e) => tools.rename(m.id, e.target.value) });
    const more = [m.cut_text && `cut ${m.cut_text}, fill ${m.fill_text}`, m.area_text && `area ${m.area_text}`, m.sigma_note, m.coverage_note].filter(Boolean);
    return el("li", { "data-measure": m.id, onclick: () => { tools.chosen = m.id; stage.invalidate(); } },
      el("div.head", {}, title, data.shared ? null : iconButton("trash", `Delete ${m.name ?? m.kind}`, () => tools.remove(m.id))),
      el("p.value.number", {}, m.text ?? ""), more.map((line) => el("p.dim.small", {}, line)));
  }

  function fill() {
    buttons.replaceChildren(...MEASURES.map(toolButton));
    list.replaceChildren(...(tools.list.length ? tools.list.map(row) : [el("li.none.dim", {}, "Nothing measured yet. Choose a tool, then click on the model.")]));
    foot.hidden = !tools.list.length;
    foot.replaceChildren(
      el("a.button.outlined", { href: "measures.json", download: "measures.json" }, "JSON"),
      el("a.button.outlined", { href: "measures.csv", download: "measures.csv" }, "CSV"),
      check("Show", tools.visible, (on) => { tools.visible = on; stage.invalidate(); }));
    if (tools.kept === false) foot.append(el("p.dim.small", {}, "Kept until this viewer ends: files hold no measures."));
    fillFrame();
  }

  function fillFrame() {
    const { saved, unit_note: note } = viewer.scene, set = saved.scale !== 1 || (saved.unit && saved.unit !== viewer.scene.unit);
    const undo = (words, place, body) => el("button.outlined", { type: "button", onclick: () => tools.frame(place, body) }, words);
    frame.replaceChildren(el("div.tools", { role: "group", "aria-label": "scale, up, origin" }, ["scale", "up", "origin"].map(toolButton)),
      el("p.dim.small", {}, saved.stale ?? (set ? `Lengths are in ${viewer.unit}, by the length that you set.` : note ?? "")),
      el("div.row", {}, set ? undo("Take back scale", "scale", { points: null }) : null, saved.up ? undo("Take back up", "up", { up: null }) : null,
        saved.origin ? undo("Take back origin", "origin", { point: null }) : null));
  }

  function showSection() {
    const s = guides.section;
    if (!s) { section.replaceChildren(); return; }
    const again = () => { s.lines = null; guides.clip(); };
    section.replaceChildren(
      segments("direction of the section", [["up", "Level"], ["front", "Front"], ["side", "Side"]], s.axis, (k) => { s.axis = k; again(); showSection(); }),
      el("label.field", {}, el("span", {}, "Place"), el("input", { type: "range", id: "section-at", min: "0", max: "1", step: "0.002", value: s.at, oninput: (e) => { s.at = Number(e.target.value); again(); } })),
      el("div.row", {}, check("Other side", s.flip, (on) => { s.flip = on; guides.clip(); }),
        el("button.outlined", { type: "button", id: "section-measure", onclick: async () => {
          const p = guides.sectionPlane();
          const told = await tools.section({ point: p.point.toArray(), normal: p.normal.toArray() }, 0);
          if (told && guides.section === s) { s.lines = told.lines; guides.clip(); }
          if (told && !told.lines.length) notice("The plane does not meet the mesh here");
        } }, "Measure the cut")));
  }

  function askScale(points, house) {
    const length = el("input", { type: "number", min: "0", step: "any", required: true, id: "scale-length", placeholder: "length" });
    const sigma = el("input", { type: "number", min: "0", step: "any", placeholder: "± 0", id: "scale-sigma" });
    const unit = el("select", { "aria-label": "unit of the length" }, UNITS.map((u) => el("option", { value: u }, u)));
    ask.replaceChildren(el("form.panel.ask", { onsubmit: (e) => {
      e.preventDefault();
      tools.house = house;
      ask.replaceChildren();
      tools.frame("scale", { points, length: Number(length.value), unit: unit.value, sigma: Number(sigma.value || 0) });
    } }, el("h3", {}, "How long is it?"),
      el("div.row", {}, el("label.field.grow", {}, el("span", {}, "Length"), length), unit),
      el("label.field", {}, el("span", {}, "Plus-minus"), sigma),
      el("div.row", {}, el("button.strong", {}, "Set scale"), el("button.outlined", { type: "button", onclick: () => ask.replaceChildren() }, "Cancel"))));
    viewer.page.open("measure");
    length.focus();
  }

  tools.addEventListener("change", fill);
  tools.addEventListener("scale", ({ points, house }) => askScale(points, house));
  viewer.addEventListener("frame", () => { fill(); if (guides.section) showSection(); });
  fill();
}
