// The tabs of files to download and of the report.

import { ask, house } from "./api.js";
import { bytes, el, keyed, local, notice, say } from "./dom.js";

// the server's kind, or the end of the name -> what it is good for
const USES = {
  "model.glb": "textured mesh; opens in browsers, Blender, phones",
  "model.obj": "textured mesh for nearly every 3D program",
  "model.stl": "shape only, for printing",
  "cloud.ply": "dense point cloud with colours, normals and sigma",
  "splats.ply": "Gaussian splats",
  "splats.spz": "Gaussian splats, small",
  "field.npz": "radiance field",
  "report.html": "how good it is, for people",
  "report.json": "how good it is, for programs",
  "transforms.json": "cameras for nerfstudio",
};
const FIRST = ["model.glb", "model.obj", "cloud.ply", "splats.ply", "splats.spz", "report.html"];

function useOf({ name, kind }) {
  const last = name.split("/").pop();
  if (USES[last]) return USES[last];
  if (name.startsWith("cameras/")) return "cameras and sparse points for COLMAP";
  return typeof kind === "string" ? kind : "";
}

export function showFiles(root, page) {
  const list = el("ul.files", { "aria-label": "files" });
  const all = el("a.button.strong", { href: house(page.id, "all.zip"), download: "" }, "Download everything (zip)");
  const head = el("div.row.tools", { hidden: true }, el("p.dim.grow"), all);
  const nothing = el(
    "div.nothing",
    { hidden: true },
    el("h2", {}, "No files yet"),
    el("p.dim", {}, "They appear here when something has been made."),
    el("a.button.strong", { href: `#/h/${encodeURIComponent(page.id)}/make` }, "Choose what to make"),
  );
  root.append(head, nothing, list);
  let last = null;

  async function update(one) {
    const key = `${one.status} ${one.size_bytes}`;
    if (key === last) return;
    last = key;
    let files;
    try {
      files = await ask(house(page.id, "exports"));
    } catch (error) {
      last = null;
      if (error.status !== 0) notice(error);
      return;
    }
    const order = (file) => (FIRST.includes(file.name) ? FIRST.indexOf(file.name) : FIRST.length);
    files.sort((a, b) => order(a) - order(b) || a.name.localeCompare(b.name));
    nothing.hidden = files.length > 0;
    head.hidden = !files.length;
    say(head.firstChild, `${files.length} files, ${bytes(files.reduce((sum, file) => sum + file.bytes, 0))}`);
    keyed(
      list,
      files,
      (file) => file.name,
      (file) => {
        const name = file.name.split("/").pop(),
          place = local(file.url) ?? house(page.id, "exports", ...file.name.split("/"));
        return el(
          "li",
          {},
          el("span.grow", {}, el("b", {}, file.name), el("span.dim", {}, useOf(file))),
          el("span.dim.number"),
          el("a.button.outlined", { href: place, download: name, "aria-label": `download ${file.name}` }, "Download"),
        );
      },
      (node, file) => say(node.children[1], bytes(file.bytes)),
    );
  }

  return { update, stop() {} };
}

export function showReport(root, page) {
  let state = null;

  function update(one) {
    const wanted = one.status === "done";
    if (wanted === state) return;
    state = wanted;
    const address = house(page.id, "report");
    root.replaceChildren(
      ...(wanted
        ? [
            el("iframe.viewer.report", { src: address, title: "report", sandbox: "allow-popups" }),
            el(
              "p.own-tab",
              {},
              el("a", { href: address, target: "_blank", rel: "noopener" }, "Open in a tab of its own"),
            ),
          ]
        : [
            el(
              "div.nothing",
              {},
              el("h2", {}, "No report yet"),
              el(
                "p.dim",
                {},
                "It is written when a job has been done: what was placed, how accurate it is, what is missing.",
              ),
            ),
          ]),
    );
  }

  return { update, stop() {} };
}
