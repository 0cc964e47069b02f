// The journal as a waterfall: a line for each command, with a bar from when it was asked for until it was answered.
/** @import { Entry, WholeInvocation } from "../facts.js" */
/** @import { Line } from "./lines.js" */
import { html, useState } from "../html.js";
import { shown } from "../text.js";
import { exact, useNow } from "../time.js";
import { axis, folded, lines, median } from "./lines.js";
import { InvocationLink } from "./small.js";
import { mark } from "./status.js";
import { Value, wholeEntry } from "./value.js";

const MOST = 2000;
/** @type {Record<string, string>} */
const WAITS = { awakeable: "◐", sleep: "◷", call: "→", attach: "→", promise: "◐", run: "●" };

/** @param {{ of: WholeInvocation, journal: Entry[] }} props */
export function Timeline({ of, journal }) {
  const now = useNow();
  const [folds, fold] = useState(true);
  const [hides, hide] = useState(false);
  const [opened, open] = useState(/** @type {number[]} */ ([]));
  const all = lines(journal).filter((line) => !hides || !["set state", "change state", "clear state", "now", "snapshot"].includes(line.entry));
  const end = of.ended_at ? Date.parse(of.ended_at) : Math.max(now, ...all.slice(-1).map((line) => line.from));
  const { of: place, gaps } = axis(all, end, folds);
  const some = folded(all).flatMap((line) => (line.times > 1 && opened.includes(line.position) ? [line, ...line.among] : [line])).slice(0, MOST);
  return html`<div class="timeline">
    <p class="filters"><label><input type="checkbox" checked=${folds} onChange=${() => fold(!folds)} /> fold idle time</label> <label><input type="checkbox" checked=${hides} onChange=${() => hide(!hides)} /> hide state and clock</label>
      ${gaps.length ? html`<span class="soft">${gaps.length === 1 ? "folded:" : `${gaps.length} gaps folded:`} ${gaps.map((gap) => exact(gap.ms)).join(", ")}</span>` : null}</p>
    <div class="wide"><table class="lines"><caption class="unseen">Commands of the journal in their order</caption>
      <thead><tr><th scope="col" class="number">position</th><th scope="col">command</th><th scope="col" class="track">time</th><th scope="col" class="number">took</th><th scope="col">value</th></tr></thead>
      <tbody>${some.map((line) => html`<${Row} key=${`${line.position}x${line.times}`} line=${line} of=${of} end=${end} place=${place} gaps=${gaps} open=${() => open(opened.includes(line.position) ? opened.filter((one) => one !== line.position) : [...opened, line.position])} />`)}</tbody></table></div>
    ${all.length > MOST ? html`<p class="soft">The first ${MOST.toLocaleString("en")} lines.</p>` : null}
  </div>`;
}

/** @param {{ line: Line, of: WholeInvocation, end: number, place: (instant: number) => number, gaps: { at: number }[], open: () => void }} props */
function Row({ line, of, end, place, gaps, open }) {
  const from = place(line.from), to = place(line.to ?? end);
  const point = line.to === line.from;
  const took = line.times > 1 ? `p50 ${exact(median(line.among))}` : point ? "" : exact((line.to ?? end) - line.from);
  const state = line.to === null ? (of.ended_at ? "unanswered" : "waits") : line.failed ? "failed" : "";
  const value = line.times > 1 ? null : line.answer ? line.answer.value : line.value;
  const position = line.answer ? line.answer.position : line.position;
  return html`<tr class=${state}>
    <td class="number">${line.position}</td>
    <td class="command">${line.entry} ${line.called ? html`<${InvocationLink} id=${line.called} /> ` : null}<b>${shown(line.name, 80)}</b>${line.times > 1 ? html`${" "}<button class="plain" onClick=${open}>× ${line.times}</button>` : null}</td>
    <td class="track"><span class="place">${gaps.map((gap) => html`<i class="gap" style=${{ left: `${100 * gap.at}%` }}></i>`)}<i class=${"bar " + (point ? "point" : state)} style=${{ left: `${100 * from}%`, width: point ? undefined : `${Math.max(0.4, 100 * (to - from))}%` }}></i></span></td>
    <td class="number">${state === "waits" ? html`<span title="not answered yet">${["blocked", "running"].includes(of.status) ? WAITS[line.entry] || "" : mark(of.status)} ${took}</span>` : took}</td>
    <td class="cell">${!line.answer && !point && value ? html`<span class="soft">with </span>` : null}<${Value} of=${value} whole=${wholeEntry(of.id, position)} /></td></tr>`;
}
