// Why something does not move, in the words of `actors doctor`: the chain of waits, the root cause, and the ways out.
/** @import { Diagnosis as Found, Way } from "../facts.js" */
import { APP, hasToken } from "../api.js";
import { html } from "../html.js";
import { counted, shown } from "../text.js";
import { Age, Copy, InvocationLink, When } from "./small.js";

/** @param {{ ways: Way[] }} props the smallest loss first */
export function Ways({ ways }) {
  if (!ways.length) return null;
  return html`<h3>What frees it, the smallest loss first</h3><ol class="ways">${ways.map((way) => {
    const line = way.command.length ? typed(way.command) : "";
    return html`<li>${line ? html`<code>${shown(line)}</code>${" "}<${Copy} text=${line} label=${`the command ${way.command.slice(0, 2).join(" ")}`} /><br />` : null}<span>${shown(way.effect)}</span></li>`;
  })}</ol>`;
}

/** @param {{ of: Found, self?: string }} props `self` is the id of the invocation whose page this is */
export function Diagnosis({ of, self }) {
  const chain = of.chain.filter((link) => link.id !== of.id);
  return html`<section class=${"card why" + (of.needs_a_person ? " person" : "")} aria-labelledby="why">
    <h2 id="why">Why it does not move</h2>
    ${chain.map((link) => html`<p>${link.id === self ? "This invocation" : html`<${InvocationLink} id=${link.id} /> ${shown(link.name)}`}${" "}${shown(link.text)}</p>`)}
    <p class="root">${of.id && of.id !== self ? html`<${InvocationLink} id=${of.id} /> ` : null}${of.name ? html`<b>${shown(of.name)}</b> ` : null}${shown(of.text)}</p>
    ${of.detail ? html`<pre>${shown(of.detail)}</pre>` : null}
    ${of.behind ? html`<p>Behind it: ${counted(of.behind, "message")}${of.behind_since ? html`, the oldest for <${Age} since=${of.behind_since} />` : null}.</p>` : null}
    ${of.callers.length ? html`<p>${of.callers.map((caller) => shown(caller)).join(", ")}${of.more_callers ? ` and ${of.more_callers} more` : ""} ${of.callers.length + of.more_callers === 1 ? "waits" : "wait"} for its result.</p>` : null}
    ${of.other_causes ? html`<p>${counted(of.other_causes, "other cause")} besides.</p>` : null}
    ${of.since ? html`<p class="soft">Since <${When} at=${of.since} />.</p>` : null}
    ${of.ways.length ? html`<${Ways} ways=${of.ways} />` : null}
  </section>`;
}

/** A line for a shell that reaches this app, as `actors doctor --url` writes it. @param {string[]} command */
function typed([what, operation, ...rest]) {
  if (what === "awakeables") return ["actors", operation, ...rest, "--url", APP].map(quoted).join(" ");
  const token = hasToken() ? ' -H "Authorization: Bearer $ACTORS_TOKEN"' : "";
  const path = [what, rest[0], operation].map(encodeURIComponent).join("/");
  return `curl -X POST${token} ${quoted(`${APP}/restate/admin/${path}`)}`;
}

/** For a shell. @param {string} part */
function quoted(part) {
  return /^[A-Za-z0-9_./:=@%+-]+$/.test(part) ? part : `'${part.replaceAll("'", "'\\''")}'`;
}
