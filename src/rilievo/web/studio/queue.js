// The queue: what runs, what waits, what has been.

import { ask, poll } from "./api.js";
import { confirmed, day, duration, el, keyed, notice, say, troubleBox } from "./dom.js";
import { address } from "./gallery.js";
import { wordsOf } from "./make.js";
import { paintState } from "./states.js";

const OPEN = ["queued", "running"];

export function show(root) {
  const open = el("ul.jobs", { "aria-label": "running and waiting" }),
    past = el("ul.jobs", { "aria-label": "finished" });
  const nothing = el(
    "p.dim.nothing-line",
    { hidden: true },
    "Nothing runs and nothing waits. Jobs run one after the other; they go on after the server was stopped.",
  );
  const pastHead = el("h2", { hidden: true }, "Finished");
  const trouble = el("div");
  root.classList.add("page");
  root.append(el("h1", {}, "Queue"), nothing, open, pastHead, past, trouble);

  const watching = poll(
    () => ask("/api/jobs"),
    (jobs) => {
      trouble.replaceChildren();
      const running = jobs
        .filter((job) => OPEN.includes(job.status))
        .sort((a, b) => (a.status === b.status ? (a.created > b.created ? 1 : -1) : a.status === "running" ? -1 : 1));
      const ended = jobs
        .filter((job) => !OPEN.includes(job.status))
        .sort((a, b) => (a.created < b.created ? 1 : -1))
        .slice(0, 50);
      nothing.hidden = running.length > 0;
      pastHead.hidden = !ended.length;
      keyed(open, running, (job) => job.id, row, paint);
      keyed(past, ended, (job) => job.id, row, paint);
    },
    (error) => {
      if (error.status !== 0) trouble.replaceChildren(troubleBox(error));
    },
    () => 2,
  );

  function row(job) {
    return el(
      "li.panel",
      {},
      el(
        "div.row",
        {},
        el("a.name.grow", { href: address(job.house_id, "make") }),
        el("span.state"),
        el("button.outlined", { type: "button", onclick: () => cancel(job) }, "Cancel"),
      ),
      el("progress", { max: 1, "aria-label": "progress" }),
      el("p.dim.number"),
    );
  }

  function paint(node, job) {
    const [name, state, button] = node.firstChild.children,
      bar = node.children[1],
      running = job.status === "running";
    say(name, job.title ?? job.house_title ?? "house");
    paintState(state, { id: null, status: job.status });
    button.hidden = !OPEN.includes(job.status);
    button.setAttribute("aria-label", `cancel ${name.textContent}`);
    bar.hidden = !running;
    if (Number.isFinite(job.progress)) bar.value = job.progress;
    say(
      node.children[2],
      [
        wordsOf(job.makes),
        job.quality,
        running ? job.stage : null,
        running && job.eta_s > 0 ? `${duration(job.eta_s)} left` : null,
        job.status === "done" && job.seconds ? `took ${duration(job.seconds)}` : null,
        job.status === "failed" ? job.error?.what : null,
        OPEN.includes(job.status) ? null : day(job.finished ?? job.created),
      ]
        .filter(Boolean)
        .join(" · "),
    );
  }

  async function cancel(job) {
    if (
      !(await confirmed(
        "Cancel this job?",
        "What it has finished so far is kept: the same job goes on from there.",
        "Cancel it",
      ))
    )
      return;
    try {
      await ask(`/api/jobs/${encodeURIComponent(job.id)}/cancel`, { method: "POST" });
      window.dispatchEvent(new Event("jobs"));
      watching.now();
    } catch (error) {
      notice(error);
    }
  }

  return () => watching.stop();
}
