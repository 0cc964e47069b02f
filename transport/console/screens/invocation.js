// One invocation: what it is, why it does not move, and what it has done so far.
/** @import { Fetched } from "../fetched.js" */
/** @import { Diagnosis as Found, Entry, InvocationEvent, WholeInvocation } from "../facts.js" */
import { ApiError, checked, get } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { useFetched, Waiting } from "../fetched.js";
import { Diagnosis } from "../parts/diagnosis.js";
import { Family } from "../parts/family.js";
import { Status } from "../parts/status.js";
import { Age, Copy, InvocationLink, When } from "../parts/small.js";
import { Timeline } from "../parts/timeline.js";
import { Value, wholeEntry } from "../parts/value.js";
import { useTopic } from "../stream.js";
import { shown, target } from "../text.js";
import { address, go } from "../url.js";

const PAGE = 500;
const TABS = ["timeline", "journal", "calls", "json"];

/** @param {{ parts: string[], query: Record<string, string> }} props */
export function Invocation({ parts, query }) {
  let id = "";
  try {
    id = checked(parts[0] || "");
  } catch (error) {
    return html`<h1>Invocation</h1><p class="refused" role="alert">${error instanceof ApiError ? error.message : ""}</p>`;
  }
  return html`<${Known} key=${id} id=${id} tab=${TABS.includes(query.tab) ? query.tab : "timeline"} />`;
}

/** @param {{ id: string, tab: string }} props */
function Known({ id, tab }) {
  const read = /** @type {Fetched<WholeInvocation>} */ (useFetched(`invocations/${id}`, { limit: PAGE, values: "text" }));
  const live = /** @type {InvocationEvent | null} */ (useTopic(read.data || read.at ? `invocation:${id}` : ""));
  const changes = live ? `${live.status} ${live.journal_to} ${live.failed_attempts} ${live.held}` : "";
  const [kept, keep] = useState({ of: /** @type {WholeInvocation | null} */ (null), more: /** @type {Entry[]} */ ([]), open: false });
  useEffect(() => {
    if (changes && read.data) read.again();
  }, [changes]);
  const found = read.data || kept.of;
  useEffect(() => {
    if (read.data) keep((before) => ({ ...before, of: read.data }));
  }, [read.data]);
  if (!found) return html`<h1>Invocation</h1><${Waiting} of=${read} what="the invocation" />`;
  if (live && live.gone) return html`<h1>Invocation</h1><p>It is no longer kept: it was purged, or was older than the retention of the app.</p>`;
  const more = kept.more.filter((entry) => entry.position > lastOf(found.journal));
  const journal = [...found.journal, ...more];
  const unread = more.length ? kept.open : found.journal_more;
  const goOn = async () => {
    const next = /** @type {WholeInvocation} */ (await get(`invocations/${id}`, { after: lastOf(journal), limit: PAGE, values: "text" }));
    keep((before) => ({ ...before, more: [...more, ...next.journal], open: next.journal_more }));
  };
  return html`<h1>${shown(found.handler)} <a class="target" href=${address("invocations", { service: found.service, key: found.key, status: "all" })}>${shown(target(found.service, found.key), 200)}</a></h1>
    <p class="facts"><${Status} of=${found.status} held=${found.held} />${found.ended_at ? html` after <${Age} since=${found.accepted_at} until=${found.ended_at} />` : html`, accepted <${Age} since=${found.accepted_at} /> ago`}${found.cancel_requested && !found.ended_at ? ", cancel requested" : ""}</p>
    <${Facts} of=${found} />
    ${found.ended_at ? html`<${Outcome} of=${found} />` : html`<${Why} id=${id} changes=${changes} />`}
    <div role="tablist" aria-label="Views of the invocation" class="views">${TABS.map((name) => html`<a role="tab" class="view" id=${`tab-${name}`} aria-controls="panel" aria-selected=${tab === name} href=${address("invocation", { tab: name }, id)} onClick=${(/** @type {Event} */ event) => (event.preventDefault(), go(address("invocation", { tab: name }, id), true))}>${name === "json" ? "JSON" : name}${name === "journal" ? ` ${journal.length}${unread ? "+" : ""}` : ""}</a>`)}</div>
    <section id="panel" role="tabpanel" aria-labelledby=${`tab-${tab}`} class="card">
      ${tab === "timeline" ? html`<${Timeline} of=${found} journal=${journal} />` : null}
      ${tab === "journal" ? html`<${Journal} id=${id} journal=${journal} />` : null}
      ${tab === "calls" ? html`<${Family} id=${id} />` : null}
      ${tab === "json" ? html`<pre class="json">${shown(JSON.stringify({ ...found, journal }, null, 2), 200000)}</pre>` : null}
      ${unread && tab !== "calls" ? html`<p><button onClick=${goOn}>read ${PAGE} more entries</button></p>` : null}
    </section>`;
}

/** @param {{ of: WholeInvocation }} props */
function Facts({ of }) {
  return html`<dl class="facts">
    <div><dt>id</dt><dd><span class="mono">${of.id}</span> <${Copy} text=${of.id} label="the id" /></dd></div>
    <div><dt>accepted</dt><dd><${When} at=${of.accepted_at} whole=${true} /></dd></div>
    ${of.ended_at ? html`<div><dt>ended</dt><dd><${When} at=${of.ended_at} whole=${true} /></dd></div>` : null}
    ${of.failed_attempts ? html`<div><dt>failed attempts</dt><dd>${of.failed_attempts}</dd></div>` : null}
    ${of.called_by ? html`<div><dt>called by</dt><dd><${InvocationLink} id=${of.called_by} /></dd></div>` : null}
    ${of.restarted_from ? html`<div><dt>restarted from</dt><dd><${InvocationLink} id=${of.restarted_from} /></dd></div>` : null}
    ${of.idempotency_key ? html`<div><dt>idempotency key</dt><dd>${shown(of.idempotency_key, 200)}</dd></div>` : null}
    <div><dt>mode</dt><dd>${of.mode}</dd></div>
    ${of.headers && of.headers.text !== "{}" ? html`<div><dt>headers</dt><dd><${Value} of=${of.headers} /></dd></div>` : null}
    <div><dt>arguments</dt><dd><${Value} of=${of.arguments} /></dd></div>
  </dl>`;
}

/** @param {{ of: WholeInvocation }} props */
function Outcome({ of }) {
  return html`<section class=${"card why" + (of.failure ? " person" : "")}><h2>${of.failure ? "It failed with" : "It returned"}</h2><p><${Value} of=${of.failure || of.result} /></p></section>`;
}

/** @param {{ id: string, changes: string }} props */
function Why({ id, changes }) {
  const read = /** @type {Fetched<Found>} */ (useFetched("doctor", { id }));
  const [kept, keep] = useState(/** @type {Found | null} */ (null));
  useEffect(() => {
    if (read.data) keep(read.data);
  }, [read.data]);
  useEffect(() => {
    const timer = setInterval(read.again, 5000);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    if (changes) read.again();
  }, [changes]);
  return kept ? html`<${Diagnosis} of=${kept} self=${id} />` : html`<${Waiting} of=${read} what="the reason" />`;
}

/** @param {{ id: string, journal: Entry[] }} props */
function Journal({ id, journal }) {
  return html`<div class="wide"><table class="rows"><caption class="unseen">Entries of the journal</caption>
    <thead><tr><th scope="col" class="number">position</th><th scope="col">at</th><th scope="col">entry</th><th scope="col">name</th><th scope="col" class="number">answers</th><th scope="col">called</th><th scope="col">value</th></tr></thead>
    <tbody>${journal.map((entry) => html`<tr key=${entry.position}><td class="number">${entry.position}</td><td><${When} at=${entry.at} /></td><td>${entry.entry}</td><td>${shown(entry.name, 200)}</td>
      <td class="number">${entry.completes ?? ""}</td><td>${entry.called ? html`<${InvocationLink} id=${entry.called} />` : null}</td><td class="cell"><${Value} of=${entry.value} whole=${wholeEntry(id, entry.position)} />${entry.due ? html` until <${When} at=${entry.due} />` : null}</td></tr>`)}</tbody></table></div>`;
}

/** @param {Entry[]} journal */
function lastOf(journal) {
  return journal.length ? journal[journal.length - 1].position : -1;
}
