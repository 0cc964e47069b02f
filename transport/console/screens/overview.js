// The first screen: what does not move, what is open, how full the limits are.
/** @import { Fetched } from "../fetched.js" */
/** @import { Overview as Found } from "../facts.js" */
import { html } from "../html.js";
import { useFetched, Waiting } from "../fetched.js";
import { Sorted } from "../parts/causes.js";
import { OPEN, mark, word } from "../parts/status.js";
import { Age, When } from "../parts/small.js";
import { useTopic } from "../stream.js";
import { counted, shown, size, target } from "../text.js";
import { address } from "../url.js";

const FIRST = 5;
/** @type {Record<string, string>} */
const LIMITS = { max_pending: "fullest mailbox", max_in_flight: "open in memory", max_retained: "ended and kept" };

export function Overview() {
  const read = /** @type {Fetched<Found>} */ (useFetched("overview"));
  const found = /** @type {Found | null} */ (useTopic("overview")) || read.data;
  if (!found) return html`<h1>Overview</h1><${Waiting} of=${read} what="the overview" />`;
  return html`<h1 class="unseen">Overview</h1>
    <${Headline} of=${found} />
    <${Causes} of=${found.trouble} />
    <div class="columns">
      <${Open} of=${found.counts} />
      <${Busiest} of=${found.busiest} />
      <${Limits} of=${found} />
    </div>`;
}

/** @param {{ of: Found }} props */
function Headline({ of }) {
  const waits = of.counts ? of.counts.awakeables : 0;
  const oldest = of.counts ? of.counts.oldest_awakeable : null;
  return html`<p class="headline" aria-live="polite">${of.trouble ? (of.trouble.causes.length ? shown(of.trouble.headline) : "Nothing has stood still for a minute.") : "Looking through the file …"}
      ${of.trouble && !of.trouble.causes.length && waits ? html`${" "}${counted(waits, "awakeable")} ${waits === 1 ? "waits" : "wait"} for others${oldest ? html`, the oldest for <${Age} since=${oldest} />` : null}.` : null}</p>
    <p class="soft asof">as of <${When} at=${of.trouble_at || of.at} /></p>`;
}

/** @param {{ of: Found["trouble"] }} props */
function Causes({ of }) {
  if (!of || !of.causes.length) return null;
  const first = of.causes.slice(0, FIRST);
  return html`<section class="card">
    <${Sorted} causes=${first} />
    ${of.causes.length > FIRST || of.cut ? html`<p><a href=${address("trouble")}>All ${of.causes.length}${of.cut ? " that were looked at" : ""}</a></p>` : null}
  </section>`;
}

/** @param {{ of: Found["counts"] }} props */
function Open({ of }) {
  if (!of) return html`<section class="card"><h2>Open</h2><p class="soft">Counting …</p></section>`;
  /** @type {Record<string, number>} */
  const all = {};
  /** @type {Map<string, Record<string, number>>} a class may have any name */
  const services = new Map();
  for (const { service, status, count } of of.open) {
    all[status] = (all[status] || 0) + count;
    services.set(service, { ...services.get(service), [status]: count });
  }
  const total = Object.values(all).reduce((sum, count) => sum + count, 0);
  return html`<section class="card" aria-labelledby="open">
    <h2 id="open">Open: ${total.toLocaleString("en")}</h2>
    <div class="bar" aria-hidden="true">${OPEN.filter((status) => all[status]).map((status) => html`<span class=${status} style=${{ flexGrow: all[status] }}></span>`)}</div>
    <table><caption class="unseen">Open invocations by class and status</caption>
      <thead><tr><th scope="col">class</th>${OPEN.map((status) => html`<th scope="col" class="number" title=${word(status)}><span aria-hidden="true">${mark(status)}</span><span class="unseen">${word(status)}</span></th>`)}</tr></thead>
      <tbody>${[...services].sort(([one], [other]) => (one < other ? -1 : 1)).map(([service, counts]) => html`<tr key=${service}><th scope="row">${shown(service)}</th>
        ${OPEN.map((status) => html`<td class="number">${counts[status] ? html`<a href=${address("invocations", { service, status })}>${counts[status].toLocaleString("en")}</a>` : html`<span class="soft">·</span>`}</td>`)}</tr>`)}</tbody>
    </table>
    <p class="soft legend">${OPEN.map((status) => html`<span>${mark(status)} ${word(status)}</span> `)}</p>
    <p class="soft">counted <${When} at=${of.at} /></p>
  </section>`;
}

/** @param {{ of: Found["busiest"] }} props */
function Busiest({ of }) {
  if (!of || !of.length) return null;
  return html`<section class="card" aria-labelledby="busiest"><h2 id="busiest">Busiest keys</h2>
    <table><caption class="unseen">Keys with the most messages behind their holder</caption>
      <thead><tr><th scope="col">key</th><th scope="col" class="number">behind</th></tr></thead>
      <tbody>${of.map((one) => html`<tr><td><a href=${address("invocations", { service: one.service, key: one.key, status: "open" })}>${shown(target(one.service, one.key), 60)}</a></td><td class="number">${one.behind.toLocaleString("en")}</td></tr>`)}</tbody></table>
  </section>`;
}

/** @param {{ of: Found }} props */
function Limits({ of }) {
  const storage = of.storage;
  return html`<section class="card" aria-labelledby="limits"><h2 id="limits">Limits and storage</h2>
    <table><caption class="unseen">How full each limit is</caption><tbody>
      ${of.limits.map((one) => html`<tr><th scope="row">${LIMITS[one.name] || one.name}</th><td class="number">${one.used === null ? "—" : one.used.toLocaleString("en")}${one.of === null ? "" : ` of ${one.of.toLocaleString("en")}`}</td></tr>`)}
      ${storage && storage.file !== null ? html`<tr><th scope="row">database file</th><td class="number">${size(storage.file)}</td></tr>
      <tr><th scope="row">write-ahead log</th><td class="number">${size(storage.log)}</td></tr>
      <tr><th scope="row">free disk</th><td class="number">${size(storage.free)}</td></tr>` : html`<tr><th scope="row">database</th><td class="number">${storage ? "in memory" : "—"}</td></tr>`}
    </tbody></table></section>`;
}
