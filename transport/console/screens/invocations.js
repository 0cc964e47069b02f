// Invocations that match a filter, the newest first. Rows never move under the pointer: newer ones are announced.
/** @import { Fetched } from "../fetched.js" */
/** @import { Diagnosis as Found, Invocation, NewerEvent, Page } from "../facts.js" */
import { get } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { useFetched, Waiting } from "../fetched.js";
import { Diagnosis } from "../parts/diagnosis.js";
import { Status } from "../parts/status.js";
import { Age, InvocationLink, Target, When } from "../parts/small.js";
import { useTopic } from "../stream.js";
import { shown } from "../text.js";
import { address, go } from "../url.js";

const PAGE_SIZE = 100;
const VIEWS = [
  ["open", "open"],
  ["not moving", "pending,blocked,backing-off,paused"],
  ["failed", "failed"],
  ["ended", "succeeded,failed"],
  ["scheduled", "scheduled"],
  ["all", "all"],
];
const FILTERS = ["service", "key", "handler", "error", "text", "from", "to", "roots"];
/** @type {Record<string, string>} */
const LABELS = { text: "key contains", error: "error contains", from: "accepted from", to: "accepted before", roots: "roots only" };

/** @typedef {{ of: string, rows: Invocation[], before: string | null, searched_to: string | null, error: string }} More what was read on, of which list */

/** @param {{ query: Record<string, string> }} props */
export function Invocations({ query }) {
  const status = query.status || VIEWS[0][1];
  /** @type {Record<string, string>} */
  const filter = { ...(status === "all" ? {} : { status }) };
  for (const name of FILTERS) if (query[name] !== undefined) filter[name] = query[name];
  const read = /** @type {Fetched<Page>} */ (useFetched("invocations", { ...filter, limit: PAGE_SIZE }));
  const [more, setMore] = useState(/** @type {More} */ ({ of: "", rows: [], before: null, searched_to: null, error: "" }));
  const asked = JSON.stringify(filter) + read.at;
  /** @type {More} */
  const mine = more.of === asked ? more : { of: asked, rows: [], before: read.data?.before ?? null, searched_to: read.data?.searched_to ?? null, error: "" };
  const rows = read.data ? [...read.data.invocations, ...mine.rows] : [];
  const goOn = async () => {
    try {
      const next = /** @type {Page} */ (await get("invocations", { ...filter, limit: PAGE_SIZE, before: mine.before || "" }));
      setMore({ of: asked, rows: [...mine.rows, ...next.invocations], before: next.before, searched_to: next.searched_to ?? null, error: "" });
    } catch (error) {
      setMore({ ...mine, error: String(error instanceof Error ? error.message : error) });
    }
  };
  return html`<h1>Invocations</h1>
    <${Filters} query=${query} status=${status} />
    ${query.service && query.key ? html`<${Holder} service=${query.service} key_=${query.key} />` : null}
    <${Newer} filter=${filter} first=${rows.length ? rows[0].id : ""} again=${read.again} ready=${!!read.data} />
    <${Waiting} of=${read} what="invocations" />
    ${read.data ? html`<${Rows} rows=${rows} status=${status} />
      <p class="soft end">${mine.error ? html`<span class="refused">${mine.error}</span> ` : null}${mine.searched_to ? html`Searched back to <${When} at=${mine.searched_to} />. ` : null}${mine.before ? html`<button onClick=${goOn}>load more</button>` : rows.length ? "End of the list." : ""}</p>` : null}`;
}

/** Why the messages of an object wait. @param {{ service: string, key_: string }} props */
function Holder({ service, key_ }) {
  const read = /** @type {Fetched<Found>} */ (useFetched("doctor", { service, key: key_ }));
  return read.data && read.data.cause !== "free" ? html`<${Diagnosis} of=${read.data} />` : null;
}

/** @param {{ filter: Record<string, string>, first: string, again: () => void, ready: boolean }} props */
function Newer({ filter, first, again, ready }) {
  const simple = !["error", "text", "from", "to", "roots"].some((name) => name in filter);
  const watched = new URLSearchParams(Object.entries(filter).filter(([name]) => ["service", "key", "handler", "status"].includes(name)));
  if (first) watched.set("after", first);
  const found = /** @type {NewerEvent | null} */ (useTopic(ready && simple ? `newer:${String(watched).replaceAll(",", "%2C")}` : ""));
  useEffect(() => {
    const pressed = () => again();
    addEventListener("shownewer", pressed);
    return () => removeEventListener("shownewer", pressed);
  }, [again]);
  const count = found ? found.count : 0;
  return html`<p class="newer" aria-live="polite">${count ? html`<button onClick=${again}>▲ ${count >= 1000 ? "1,000 or more" : count} newer: show</button>` : null}</p>`;
}

/** @param {{ query: Record<string, string>, status: string }} props */
function Filters({ query, status }) {
  const change = (/** @type {Record<string, string | undefined>} */ changes) => {
    /** @type {Record<string, string | undefined>} */
    const next = { ...query, ...changes };
    for (const name of Object.keys(next)) if (next[name] === undefined) delete next[name];
    go(address("invocations", next));
  };
  const add = (/** @type {any} */ event) => {
    event.preventDefault();
    const form = event.target;
    const value = form.elements.value.value;
    if (value || form.elements.name.value === "key") change({ [form.elements.name.value]: value });
    form.elements.value.value = "";
  };
  return html`<div class="filters">
    <div role="group" aria-label="Views" class="views">${VIEWS.map(([name, statuses]) => html`<button class="view" aria-pressed=${status === statuses} onClick=${() => change({ status: statuses })}>${name}</button>`)}</div>
    <form onSubmit=${add} class="add">
      <label class="unseen" for="filter-name">Filter by</label>
      <select id="filter-name" name="name">${["service", "key", "handler", "error", "text"].map((name) => html`<option value=${name}>${LABELS[name] || name}</option>`)}</select>
      <label class="unseen" for="filter-value">Value of the filter</label><input id="filter-value" name="value" autocomplete="off" spellcheck=${false} /><button>add filter</button>
    </form>
    ${FILTERS.filter((name) => query[name] !== undefined).map((name) => html`<span class="chip">${LABELS[name] || name}${name === "roots" ? "" : ` ${name === "error" || name === "text" ? "" : "= "}${shown(query[name], 60) || "none"}`}${" "}<button class="plain" aria-label=${`remove the filter ${LABELS[name] || name}`} onClick=${() => change({ [name]: undefined })}>×</button></span>`)}
    ${query.roots === undefined ? html`<button class="plain" title="leave out what other invocations have called or sent" onClick=${() => change({ roots: "1" })}>roots only</button>` : null}
  </div>`;
}

/** @param {{ rows: Invocation[], status: string }} props */
function Rows({ rows, status }) {
  if (!rows.length) return html`<p>No invocation matches. ${status === "all" ? "Remove a filter." : html`Remove a filter, or choose <i>all</i>.`}</p>`;
  return html`<div class="wide"><table class="rows"><caption class="unseen">Invocations, the newest first</caption>
    <thead><tr><th scope="col">id</th><th scope="col">object and handler</th><th scope="col">status</th><th scope="col">accepted</th><th scope="col">took, or waits</th><th scope="col" class="number">failed attempts</th><th scope="col">why</th></tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.id}><td><${InvocationLink} id=${row.id} /></td>
      <td><a class="quiet" href=${address("invocation", {}, row.id)} tabindex="-1"><${Target} service=${row.service} key_=${row.key} handler=${row.handler} /></a></td>
      <td><${Status} of=${row.status} held=${row.held} /></td><td><${When} at=${row.accepted_at} /></td>
      <td><${Age} since=${row.accepted_at} until=${row.ended_at} /></td><td class="number">${row.failed_attempts || ""}</td>
      <td class="reason">${shown(row.failure ? failed(row.failure) : row.reason, 160)}</td></tr>`)}</tbody></table></div>`;
}

/** @param {{ message: string, error?: string }} failure */
function failed(failure) {
  return failure.error ? `${failure.error}: ${failure.message}` : failure.message;
}
