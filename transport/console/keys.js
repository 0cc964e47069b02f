// Keys: / search, g and a letter for a screen, j and k for rows, Enter to open, . for newer rows, ? for this list.
import { address, go } from "./url.js";

export const KEYS = [
  ["/", "search"], ["g o", "Overview"], ["g t", "Trouble"], ["g i", "Invocations"], ["j  k", "next and previous row"],
  ["Enter", "open the row"], [".", "show newer rows"], ["Backspace", "back"], ["Escape", "leave the search"], ["?", "this list"],
];
/** @type {Record<string, string>} */
const SCREENS = { o: "overview", t: "trouble", i: "invocations" };
let went = 0;

/** @param {KeyboardEvent} event @param {() => void} help */
export function pressed(event, help) {
  const from = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || from.closest("input, textarea, select, dialog")) return;
  const screen = SCREENS[event.key];
  if (screen && Date.now() - went < 1500) {
    went = 0;
    return act(event, () => go(address(screen)));
  }
  went = event.key === "g" ? Date.now() : 0;
  if (event.key === "/") act(event, () => document.getElementById("search")?.focus());
  else if (event.key === "j" || event.key === "k") act(event, () => step(event.key === "j" ? 1 : -1));
  else if (event.key === ".") act(event, () => dispatchEvent(new Event("shownewer")));
  else if (event.key === "?") act(event, help);
  else if (event.key === "Backspace") act(event, () => history.back());
}

/** @param {Event} event @param {() => void} what */
function act(event, what) {
  event.preventDefault();
  what();
}

/** To the next row: of a table its first link, of causes their summary. @param {number} by */
function step(by) {
  const rows = [...document.querySelectorAll("main table.rows tbody tr, main details.cause, main table.lines tbody tr")];
  const now = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[Math.max(0, Math.min(rows.length - 1, now + by))];
  const focus = /** @type {HTMLElement | null} */ (next && next.querySelector("a, summary, button"));
  if (focus) focus.focus();
  else if (next) next.scrollIntoView({ block: "nearest" });
}
