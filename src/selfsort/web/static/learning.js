/** Learn from the corrections: progress, before and after, keep or throw away. */

import { get, now, onState, post, setState } from "./api.js";
import { byId } from "./parts.js";
import { count, percent, text } from "./texts.js";

let timer = null;

/** Begin to show how the training stands. */
export function startLearning() {
  byId("train").addEventListener("click", async () => {
    const training = await post("/api/train");
    if (training) setState({ ...now.state, training });
  });
  for (const [id, path] of [["cancel", "cancel"], ["keep", "keep"], ["discard", "discard"]]) {
    byId(id).addEventListener("click", async () => {
      const state = await post(`/api/train/${path}`);
      if (state) setState(state);
    });
  }
  onState(showLearning);
}

/** Show the training of a state, and ask again while it runs. */
export function showLearning({ training }) {
  const kind = training?.state;
  byId("train").hidden = Boolean(training);
  byId("cancel").hidden = kind !== "running";
  byId("keep").hidden = kind !== "done";
  byId("discard").hidden = kind !== "done" && kind !== "failed";
  byId("discard").textContent = text(kind === "failed" ? "close" : "discard");
  byId("progress").hidden = kind !== "running";
  byId("progress").value = 100 * (training?.progress ?? 0);
  byId("learned").textContent = training ? sentence(training) : "";
  clearTimeout(timer);
  if (kind === "running") timer = setTimeout(askAgain, 1000);
}

async function askAgain() {
  const training = await get("/api/train");
  if (now.state.training?.state === "running") {
    now.state.training = training;
    showLearning(now.state);
  }
}

function sentence(training) {
  const seconds = Math.round(training.seconds);
  if (training.state === "failed") return text("failed", { error: training.error });
  if (training.state === "running") {
    const stage = training.stage ? `${training.stage},` : text("training-start");
    return text("training", { percent: percent(training.progress, 0), stage, seconds });
  }
  const { before, after } = training;
  const values = {
    seconds,
    before: percent(before.doubtful),
    after: percent(after.doubtful),
    changed: count(training.n_changed),
  };
  const agreement = { before: percent(before.agreement ?? 0, 0), after: percent(after.agreement ?? 0, 0) };
  const more = after.agreement === null ? "" : ` ${text("agreement", agreement)}`;
  return text("trained", values) + more;
}
