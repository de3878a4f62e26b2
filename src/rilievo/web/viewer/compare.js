// Two layers or houses side by side in one picture, with a border that is moved.

import { $ } from "./dom.js";

export function bindCompare(viewer) {
  const { layers, stage } = viewer, divider = $("divider"), button = $("compare-button");

  const show = () => {
    const on = layers.compare !== null;
    button.setAttribute("aria-pressed", String(on));
    divider.hidden = !on;
    for (const side of ["left", "right"]) {
      $(`${side}-name`).hidden = !on;
      if (on) {
        const names = new Map(layers.sides(viewer.scene.houses));
        $(`${side}-name`).textContent = names.get(layers.compare[side]) ?? "";
      }
    }
    if (on) {
      divider.style.left = `${100 * layers.compare.split}%`;
      divider.setAttribute("aria-valuenow", String(Math.round(100 * layers.compare.split)));
    }
    layers.apply();
  };

  viewer.compare = (left, right) => {
    if (left === null) layers.compare = null;
    else layers.compare = { left, right, split: layers.compare?.split ?? 0.5 };
    show();
    viewer.dispatchEvent(new Event("compare"));
  };
  button.onclick = () => {
    const sides = layers.sides(viewer.scene.houses).map(([key]) => key);
    if (layers.compare || sides.length < 2) return viewer.compare(null);
    const solid = sides.filter((s) => s.startsWith("house:") || /^layer:(mesh|splats|cloud)/.test(s));
    const [a, b] = solid.length > 1 ? solid : sides;
    viewer.page.open("layers");
    return viewer.compare(a, b);
  };
  const move = (split) => {
    layers.compare.split = Math.min(Math.max(split, 0.02), 0.98);
    show();
  };
  divider.addEventListener("pointerdown", (e) => { divider.setPointerCapture(e.pointerId); e.preventDefault(); divider.focus(); });
  divider.addEventListener("pointermove", (e) => {
    if (divider.hasPointerCapture(e.pointerId)) move((e.clientX - stage.box.getBoundingClientRect().left) / stage.width);
  });
  divider.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[e.key];
    if (!step) return;
    e.preventDefault();
    e.stopPropagation();
    move(layers.compare.split + step);
  });
  viewer.addEventListener("scene", () => { button.hidden = layers.sides(viewer.scene.houses).length < 2; });
}
