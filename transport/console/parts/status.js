// The status of an invocation: a mark, a word and a colour, never the colour alone.
import { html } from "../html.js";

/** @type {Record<string, [string, string]>} */
const MARKS = {
  scheduled: ["◷", "scheduled"],
  pending: ["○", "pending"],
  running: ["●", "running"],
  blocked: ["◐", "blocked"],
  "backing-off": ["↻", "backing off"],
  paused: ["‖", "paused"],
  succeeded: ["✓", "succeeded"],
  failed: ["✕", "failed"],
};
export const OPEN = ["pending", "running", "blocked", "backing-off", "paused", "scheduled"];

/** @param {{ of: string, held?: boolean }} props */
export function Status({ of, held }) {
  const [mark, word] = MARKS[of] || ["?", of];
  return html`<span class=${"status " + (MARKS[of] ? of : "")}><span aria-hidden="true">${mark}</span> ${word}${held ? ", held" : ""}</span>`;
}

/** @param {string} status */
export function mark(status) {
  return (MARKS[status] || ["◇"])[0];
}

/** @param {string} status */
export function word(status) {
  return (MARKS[status] || ["", status])[1];
}
