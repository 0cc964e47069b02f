// A journal as lines: each command with its completion, its neighbours of the same name folded, and where on the axis it lies.
/** @import { Entry, Text } from "../facts.js" */

/** @typedef {{ position: number, entry: string, name: string, called: string | null, due: string | null, value: Text | null, from: number, to: number | null, failed: boolean, answer: Entry | null, times: number, among: Line[] }} Line */

const ANSWERS = new Set(["completed", "failed", "cancelled"]);
const POINTS = new Set(["input", "output", "failure", "set state", "clear state", "change state", "send", "now", "snapshot", "resolve awakeable", "reject awakeable", "resolve promise", "reject promise", "peek at promise", "cancel", "migrated"]);
const FOLDED = 3; // so many equal neighbours become a line
const IDLE = 0.1; // a gap of this share of the whole is folded
const GAP = 0.04; // the width that is left of it

/** @param {Entry[]} journal @returns {Line[]} */
export function lines(journal) {
  /** @type {Map<number, Entry>} */
  const answers = new Map();
  for (const entry of journal) if (entry.completes !== null && ANSWERS.has(entry.entry)) answers.set(entry.completes, entry);
  /** @type {Line[]} */
  const found = [];
  for (const entry of journal) {
    if (entry.completes !== null || entry.entry === "unseen") continue;
    const answer = answers.get(entry.position) || null;
    const from = Date.parse(entry.at);
    const point = POINTS.has(entry.entry);
    found.push({
      position: entry.position, entry: entry.entry, name: entry.name || "", called: entry.called, due: entry.due, value: entry.value,
      from, to: answer ? Date.parse(answer.at) : point ? from : null, failed: entry.entry === "failure" || (answer !== null && answer.entry !== "completed"), answer, times: 1, among: [],
    });
  }
  return found;
}

/** Equal neighbours as one line. @param {Line[]} all @returns {Line[]} */
export function folded(all) {
  /** @type {Line[]} */
  const found = [];
  for (let place = 0; place < all.length; ) {
    let end = place + 1;
    while (end < all.length && alike(all[place], all[end])) end += 1;
    if (end - place >= FOLDED) {
      const among = all.slice(place, end);
      found.push({ ...all[place], to: among[among.length - 1].to, times: end - place, among });
    } else found.push(...all.slice(place, end));
    place = end;
  }
  return found;
}

/** @param {Line} one @param {Line} other */
function alike(one, other) {
  return one.entry === other.entry && one.name === other.name && one.to !== null && other.to !== null && !one.failed && !other.failed && one.entry !== "input";
}

/** The median duration. @param {Line[]} among */
export function median(among) {
  const sorted = among.map((line) => (line.to ?? line.from) - line.from).sort((one, other) => one - other);
  return sorted[sorted.length >> 1];
}

/** From an instant to a place between 0 and 1, with idle gaps folded; and the gaps. @param {Line[]} all @param {number} end @param {boolean} folds */
export function axis(all, end, folds) {
  const times = [...new Set([...all.flatMap((line) => (line.to === null ? [line.from] : [line.from, line.to])), end])].sort((one, other) => one - other);
  const whole = Math.max(1, times[times.length - 1] - times[0]);
  let width = 0;
  const places = [0];
  const gaps = [];
  for (let place = 1; place < times.length; place++) {
    const step = times[place] - times[place - 1];
    const idle = folds && step > IDLE * whole && times.length > 2;
    width += idle ? GAP * whole : step;
    places.push(width);
    if (idle) gaps.push({ at: width - (GAP * whole) / 2, ms: step });
  }
  const total = Math.max(1, width);
  const of = (/** @type {number} */ instant) => {
    let low = 0;
    while (low + 1 < times.length && times[low + 1] <= instant) low += 1;
    const next = Math.min(low + 1, times.length - 1);
    const share = times[next] > times[low] ? (instant - times[low]) / (times[next] - times[low]) : 0;
    return Math.min(1, Math.max(0, (places[low] + Math.min(1, share) * (places[next] - places[low])) / total));
  };
  return { of, gaps: gaps.map((gap) => ({ at: gap.at / total, ms: gap.ms })) };
}
