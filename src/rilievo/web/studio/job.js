// One job: its stages while it runs with what can be seen already, and how it ended.

import { ask, house, poll } from "./api.js";
import { confirmed, day, duration, el, keyed, local, notice, say, troubleBox } from "./dom.js";
import { wordsOf } from "./make.js";

const OPEN = ["queued", "running"];
const PREVIEW_SECONDS = 3;

/** Shows a job and follows it. tell(document): whenever it changes. */
export function showJob(root, id, page, tell) {
  const place = `/api/jobs/${encodeURIComponent(id)}`;
  const head = el("h2"),
    line = el("p.dim.number.grow", { role: "status" });
  const bar = el("progress", { max: 1, "aria-label": "progress" });
  const stages = el("ol.stages");
  const stagesBox = el("details", { open: true }, el("summary", {}, "Stages"), stages);
  const log = el("pre.log", { tabindex: "0", "aria-label": "the last lines of its log" });
  const logBox = el("details", { hidden: true }, el("summary", {}, "Log"), log);
  const cancel = el(
    "button.outlined",
    {
      type: "button",
      onclick: async () => {
        if (
          await confirmed(
            "Cancel this job?",
            "What it has finished so far is kept: the same job goes on from there.",
            "Cancel it",
          )
        )
          act("cancel");
      },
    },
    "Cancel",
  );
  const end = el("div");
  const preview = previews(page);
  const left = el("div.panel.job", {}, el("div.row", {}, head, cancel), bar, line, end, stagesBox, logBox);
  root.append(el("div.split", {}, left, preview.node));
  let status = null,
    closed = false,
    source = null,
    asking = null;

  async function act(verb) {
    try {
      await ask(`${place}/${verb}`, { method: "POST" });
      window.dispatchEvent(new Event("jobs"));
      await page.refresh();
      if (verb === "restart") follow();
    } catch (error) {
      notice(error);
    }
  }

  function paint(job) {
    const running = job.status === "running",
      open = OPEN.includes(job.status);
    const what = wordsOf(job.makes);
    say(
      head,
      {
        queued: `Waiting: ${what}`,
        running: `Making: ${what}`,
        done: `Done: ${what}`,
        failed: `Failed: ${what}`,
        cancelled: `Cancelled: ${what}`,
      }[job.status] ?? what,
    );
    cancel.hidden = !open;
    bar.hidden = !open;
    if (running && Number.isFinite(job.progress)) bar.value = job.progress;
    else bar.removeAttribute("value");
    const percent = Math.floor(100 * (job.progress ?? 0));
    say(
      line,
      {
        queued: "Another job is running; this one starts by itself after it.",
        running: [`${percent} %`, job.eta_s > 0 ? `${duration(job.eta_s)} left` : null, job.quality]
          .filter(Boolean)
          .join(" · "),
        done: [job.quality, job.seconds ? `took ${duration(job.seconds)}` : null, day(job.finished ?? job.started)]
          .filter(Boolean)
          .join(" · "),
      }[job.status] ?? "",
    );
    line.hidden = !line.textContent;
    stagesBox.hidden = !job.stages?.length;
    keyed(stages, job.stages ?? [], (stage) => stage.name, stageLine, paintStage);
    function paintStage(node, stage) {
      const finished = stage.total > 0 && stage.done >= stage.total,
        now = running && stage.name === job.stage;
      node.className = finished && !now ? "finished" : now ? "now" : "";
      if (now) node.setAttribute("aria-current", "step");
      else node.removeAttribute("aria-current");
      say(node.children[1], stage.name);
      say(node.children[2], stage.total > 1 && !finished && stage.done > 0 ? `${stage.done} of ${stage.total}` : "");
      say(node.children[3], stage.seconds >= 0.5 ? duration(stage.seconds) : "");
      const inner = node.children[4];
      inner.hidden = !now || !(stage.total > 1);
      inner.max = stage.total || 1;
      inner.value = stage.done ?? 0;
    }
    const lines = Array.isArray(job.log_tail) ? job.log_tail.join("\n") : (job.log_tail ?? "");
    logBox.hidden = !lines;
    if (log.textContent !== lines) {
      const follows = log.scrollTop + log.clientHeight > log.scrollHeight - 8;
      log.textContent = lines;
      if (follows) log.scrollTop = log.scrollHeight;
    }
    if (job.status !== status) {
      end.replaceChildren(...ending(job));
      stagesBox.open = job.status !== "done";
      if (status !== null) page.refresh();
      status = job.status;
    }
    preview.paint(job);
    tell(job);
    if (!open) unfollow();
  }

  const stageLine = () =>
    el(
      "li",
      {},
      el("i", { "aria-hidden": "true" }),
      el("span.grow"),
      el("span.dim.number"),
      el("span.dim.number.seconds"),
      el("progress", { "aria-label": "of this stage" }),
    );

  function ending(job) {
    const again = el(
      "button.strong",
      { type: "button", onclick: () => act("restart") },
      job.status === "cancelled" ? "Go on" : "Try again",
    );
    const photos = el("a.button.outlined", { href: `#/h/${encodeURIComponent(page.id)}/photos` }, "Look at the photos");
    if (job.status === "failed")
      return [
        troubleBox(
          job.error ?? {
            what: "The job failed",
            why: "it ended without saying why",
            hint: "the log below may say more; try again",
          },
          again,
          photos,
        ),
      ];
    if (job.status === "cancelled")
      return [el("p", {}, "It was cancelled. What it had finished is kept."), el("div.row", {}, again)];
    if (job.status === "done")
      return [
        el(
          "div.row",
          {},
          el("a.button.strong", { href: `#/h/${encodeURIComponent(page.id)}/view` }, "Look at it"),
          el("a.button.outlined", { href: `#/h/${encodeURIComponent(page.id)}/report` }, "Report"),
          el("a.button.outlined", { href: `#/h/${encodeURIComponent(page.id)}/files` }, "Files"),
        ),
      ];
    return [];
  }

  /** Events as they come; where they cannot be had, questions. */
  function follow() {
    unfollow();
    closed = false;
    const heard = (event) => {
      try {
        paint(JSON.parse(event.data));
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
      }
    };
    source = new EventSource(`${place}/events`);
    source.onmessage = heard;
    for (const name of ["job", "change", "update"]) source.addEventListener(name, heard);
    asking = poll(
      () => ask(place),
      (job) => {
        if (!closed) paint(job);
      },
      (error) => {
        if (error.status !== 0) notice(error);
      },
      () => (source?.readyState === EventSource.OPEN ? 10 : 2),
    );
  }

  function unfollow() {
    closed = true;
    source?.close();
    asking?.stop();
    source = asking = null;
  }

  follow();
  return {
    stop() {
      unfollow();
      preview.stop();
    },
  };
}

/** What can be seen of a house that is being made: the viewer once it has a layer, depth maps as they come. */
function previews(page) {
  const words = el("p.dim", {}, "The first picture appears when the cameras are found.");
  const empty = el("div.waiting", {}, words);
  const strip = el("ul.depths", { "aria-label": "depth maps so far", hidden: true });
  const node = el("div.preview", { hidden: true }, empty, strip);
  let frame = null,
    watching = null,
    rev = null;

  function paint(job) {
    const running = job.status === "running";
    node.hidden = !running;
    if (running && !watching) start();
    if (!running) stop();
  }

  function start() {
    watching = poll(
      () => ask(house(page.id, "view", "scene.json")),
      (scene) => {
        if (!frame && scene.layers?.length) {
          frame = el("iframe", {
            src: `${house(page.id, "view")}/`,
            title: "live preview of the model",
            allow: "fullscreen",
          });
          empty.replaceWith(frame);
        }
        if (scene.rev === rev && rev !== undefined) return;
        rev = scene.rev;
        const depths = (scene.photos ?? []).filter((photo) => photo.depth).slice(-8);
        strip.hidden = !depths.length;
        keyed(
          strip,
          depths,
          (photo) => photo.name,
          (photo) =>
            el(
              "li",
              {},
              el("img", {
                src: local(`${house(page.id, "view")}/${photo.depth}`),
                alt: `depth map of ${photo.name}`,
                title: photo.name,
                loading: "lazy",
              }),
            ),
          () => {},
        );
      },
      () => {},
      () => PREVIEW_SECONDS,
    );
  }

  function stop() {
    watching?.stop();
    watching = null;
    if (frame) {
      frame.replaceWith(empty);
      frame = null;
    }
  }

  return { node, paint, stop };
}
