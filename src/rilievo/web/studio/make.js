// The tab of making: what to make and how well, with what it will take; then the job, while it runs and after.

import { ask, house } from "./api.js";
import { bytes, el, notice, roughly, say } from "./dom.js";
import { showJob } from "./job.js";
import { nameOf } from "./photo.js";

// what the server calls it -> [word, what it is]
export const MAKES = {
  model: ["Model", "Cameras, dense cloud and a textured mesh that can be measured."],
  splats: ["Splats", "A view like the photos from every side: glass, leaves, reflections too."],
  field: ["Field", "A radiance field: views, depth and normals, even where surfaces are thin."],
  depth: ["Depth of one photo", "A depth map and a surface out of a single photo."],
};
const QUALITIES = {
  draft: ["Draft", "a first look"],
  normal: ["Normal", "for most uses"],
  high: ["High", "the finest detail"],
};

export const wordsOf = (makes) => (makes ?? []).map((name) => MAKES[name]?.[0] ?? name).join(", ");

export function showMake(root, page) {
  const state = el("div"),
    form = choices();
  root.append(state, form.node);
  let job = null,
    jobId = null,
    stopped = false,
    asked = 0;

  async function update(one) {
    const mine = ++asked;
    let latest;
    try {
      latest =
        (await ask("/api/jobs"))
          .filter((other) => other.house_id === page.id)
          .sort((a, b) => (a.created < b.created ? 1 : -1))[0] ?? null;
    } catch (error) {
      if (error.status !== 0) notice(error);
      return;
    }
    if (stopped || mine !== asked) return;
    const id = latest?.id ?? null;
    if (id !== jobId) {
      job?.stop();
      state.replaceChildren();
      jobId = id;
      job =
        id === null
          ? null
          : showJob(state, id, page, (document_) => {
              form.node.hidden = ["queued", "running"].includes(document_.status);
            });
    }
    form.paint(one);
    if (latest) form.node.hidden = ["queued", "running"].includes(latest.status);
  }

  function choices() {
    const boxes = new Map(),
      radios = new Map(),
      costs = new Map();
    let last = null,
      timer = 0,
      round = 0,
      photoNames = "",
      single = false; // one photo and no video
    const photo = el("select", { id: "one-photo" });
    const photoField = el("label.field.inset", { for: "one-photo", hidden: true }, el("span", {}, "of photo"), photo);
    const notes = el("ul.notes.dim");
    const start = el("button.strong.large", { type: "submit" }, "Start");
    const reason = el("p.dim", { role: "status" });

    const what = Object.entries(MAKES).map(([name, [word, text]]) => {
      const box = el("input", {
        type: "checkbox",
        name: "makes",
        value: name,
        checked: name === "model",
        onchange: changed,
      });
      boxes.set(name, box);
      return el("label.choice", {}, box, el("span", {}, el("b", {}, word), el("span.dim", {}, text)));
    });
    const how = Object.entries(QUALITIES).map(([name, [word, text]]) => {
      const radio = el("input", {
        type: "radio",
        name: "quality",
        value: name,
        checked: name === "normal",
        onchange: changed,
      });
      const cost = el("span.cost.number", {}, "…");
      radios.set(name, radio);
      costs.set(name, cost);
      return el("label.choice", {}, radio, el("span", {}, el("b", {}, word), el("span.dim", {}, text), cost));
    });
    const node = el(
      "form.make",
      { onsubmit: submit },
      el("fieldset", {}, el("legend", {}, "What to make"), el("div.choices", {}, what), photoField),
      el("fieldset", {}, el("legend", {}, "How well"), el("div.choices.three", {}, how)),
      notes,
      el("div.row", {}, start, reason),
    );

    const makes = () => [...boxes].filter(([, box]) => box.checked).map(([name]) => name);
    const quality = () => [...radios].find(([, radio]) => radio.checked)?.[0] ?? "normal";

    function changed() {
      photoField.hidden = !boxes.get("depth").checked;
      clearTimeout(timer);
      timer = setTimeout(predict, 150);
      paint(last);
    }

    function paint(one) {
      const news = one && (!last || last.num_photos !== one.num_photos);
      last = one;
      if (!one) return;
      const chosen = makes();
      const none = !one.num_photos
        ? "Add photos first."
        : !chosen.length
          ? "Choose at least one thing."
          : single && chosen.some((name) => name !== "depth")
            ? "One photo gives depth only; the others need more photos."
            : "";
      start.disabled = none !== "";
      say(reason, none);
      if (news) {
        predict();
        if (one.num_photos) lookAtPhotos();
      }
    }

    async function lookAtPhotos() {
      try {
        const all = await ask(house(page.id, "photos")),
          photos = all.filter((one) => one.kind !== "video"),
          names = photos.map((one) => one.name);
        single = all.length === 1 && photos.length === 1;
        paint(last);
        if (names.join("\n") === photoNames) return;
        photoNames = names.join("\n");
        const chosen = photo.value;
        photo.replaceChildren(...photos.map((one) => el("option", { value: one.name }, nameOf(one))));
        if (names.includes(chosen)) photo.value = chosen;
      } catch (error) {
        notice(error);
      }
    }

    /** Time and memory for each quality, so that they can be compared before one is chosen. */
    async function predict() {
      const mine = ++round,
        chosen = makes();
      if (!last?.num_photos || !chosen.length) {
        for (const cost of costs.values()) say(cost, "");
        notes.replaceChildren();
        return;
      }
      for (const [name, cost] of costs) {
        try {
          const told = await ask(house(page.id, "predict"), { json: { makes: chosen, quality: name } });
          if (mine !== round) return;
          say(cost, [roughly(told.seconds), `${bytes(told.memory_mb * 1e6)} memory`].join(" · "));
          if (name === quality()) notes.replaceChildren(...(told.notes ?? []).map((note) => el("li", {}, note)));
        } catch (error) {
          if (mine !== round) return;
          say(cost, error.status === 0 ? "" : error.what);
        }
      }
    }

    async function submit(event) {
      event.preventDefault();
      start.disabled = true;
      try {
        const chosen = makes(),
          options = chosen.includes("depth") && photo.value ? { photo: photo.value } : {};
        await ask(house(page.id, "jobs"), { json: { makes: chosen, quality: quality(), options } });
        window.dispatchEvent(new Event("jobs"));
        await page.refresh();
      } catch (error) {
        notice(error);
      } finally {
        start.disabled = false;
      }
    }

    return { node, paint };
  }

  return {
    update,
    stop() {
      stopped = true;
      job?.stop();
    },
  };
}
