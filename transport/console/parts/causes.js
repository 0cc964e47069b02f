// Root causes, each a row that leads to the invocation that has it.
/** @import { Group } from "../facts.js" */
import { html } from "../html.js";
import { shown } from "../text.js";
import { address } from "../url.js";
import { mark } from "./status.js";
import { Age } from "./small.js";
import { Ways } from "./diagnosis.js";

/** @param {{ of: Group, open?: boolean }} props */
function Cause({ of, open }) {
  const others = of.other_keys.length;
  return html`<details class=${"cause" + (of.needs_a_person ? " person" : "")} open=${open}>
    <summary>
      <span class="opens" aria-hidden="true"></span>
      <span class="mark" aria-hidden="true">${of.cause === "awakeable" || of.cause === "promise" ? "◇" : mark(of.status || "")}</span>
      <span class="what"><b>${shown(of.name || "")}</b> ${shown(of.text)}${of.alike ? ` (and ${of.alike.toLocaleString("en")} more like it)` : ""}
        ${of.detail && of.cause !== "awakeable" ? html`<span class="detail">${shown(of.detail, 200)}</span>` : null}</span>
      <span class="behind">${of.behind ? `${of.behind.toLocaleString("en")} behind` : ""}</span>
      <span class="since">${of.since ? html`<${Age} since=${of.since} />` : null}</span>
    </summary>
    ${others ? html`<p>It also holds ${of.other_keys.slice(0, 20).map((key) => shown(key, 100)).join(", ")}${others > 20 ? ` and ${others - 20} more` : ""}.</p>` : null}
    <${Ways} ways=${of.ways} />
    ${of.id ? html`<p><a href=${address("invocation", {}, of.id)}>Open this invocation</a>${of.alike && of.detail && of.cause !== "awakeable" ? html` · <a href=${address("invocations", { error: of.detail.slice(0, 200), status: "open" })}>all with this error</a>` : null}</p>` : null}
  </details>`;
}

/** Those that need a person, then the others. @param {{ causes: Group[] }} props */
export function Sorted({ causes }) {
  return [true, false].map((person) => {
    const some = causes.filter((cause) => cause.needs_a_person === person);
    return some.length ? html`<h2>${person ? "Needs a person" : "Goes on by itself"}</h2>${some.map((cause) => html`<${Cause} key=${cause.id} of=${cause} />`)}` : null;
  });
}
