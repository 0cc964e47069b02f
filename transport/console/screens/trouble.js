// Everything that does not move, by root cause.
/** @import { Fetched } from "../fetched.js" */
/** @import { Trouble as Found } from "../facts.js" */
import { html } from "../html.js";
import { useFetched, Waiting } from "../fetched.js";
import { Sorted } from "../parts/causes.js";
import { shown } from "../text.js";
import { address, go } from "../url.js";

const SPANS = [["0", "any time"], ["60", "1 min"], ["600", "10 min"], ["3600", "1 h"], ["86400", "1 d"]];

/** @param {{ query: Record<string, string> }} props */
export function Trouble({ query }) {
  const older = query.older || "60";
  const read = /** @type {Fetched<Found>} */ (useFetched("trouble", { older }));
  const found = read.data;
  const change = (/** @type {any} */ event) => go(address("trouble", { older: event.target.value }), true);
  return html`<h1>Trouble</h1>
    <p class="filters"><label>lasting at least <select value=${older} onChange=${change}>${SPANS.map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select></label>${" "}<button onClick=${read.again}>refresh</button></p>
    <${Waiting} of=${read} what="the file" />
    ${found ? html`<p class="headline" aria-live="polite">${found.causes.length || older === "0" ? shown(found.headline) : `Nothing has stood still for ${SPANS.find(([value]) => value === older)?.[1] ?? `${older} s`}.`}</p>
      ${found.cut ? html`<p class="soft">There is more: the keys with the most messages behind them, what has stopped and the oldest awakeables were looked at.</p>` : null}
      ${found.causes.length ? html`<section class="card"><${Sorted} causes=${found.causes} /></section>` : null}` : null}`;
}
