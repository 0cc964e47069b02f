// Everything Restate's own TypeScript client can ask for, against the ingress given. Prints what it got, as JSON.
import { createRequire } from "node:module";

const [ingress, modules, key] = process.argv.slice(2);
const { connect, Opts, SendOpts, rpc } = createRequire(modules + "/")("@restatedev/restate-sdk-clients");
const restate = connect({ url: ingress });
const counter = { name: "Counter" };
const got = {};
const failure = (promise) => promise.then((value) => ({ value }), (error) => ({ status: error.status, body: error.responseText }));
const opts = (o) => (rpc ? rpc.opts(o) : Opts.from(o));
const sendOpts = (o) => (rpc ? rpc.sendOpts(o) : SendOpts.from(o));
const held = async (name) => {
  while (!(await restate.objectClient({ name: "AwakeableHolder" }, name).hasAwakeable())) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return restate.objectClient({ name: "AwakeableHolder" }, name).peek();
};

const object = restate.objectClient(counter, key);
got.call = await object.add(5);
got.get = await object.get();
got.reset = (await object.reset()) ?? null;
got.service = await restate.serviceClient({ name: "TestUtilsService" }).uppercaseEcho("hello");
got.headers = (await restate.serviceClient({ name: "TestUtilsService" }).echoHeaders(opts({ headers: { "x-mine": "1" } })))["x-mine"];

const once = opts({ idempotencyKey: "call" });
got.idempotent = [await object.add(1, once), await object.add(1, once)];

const sender = restate.objectSendClient(counter, key);
got.sent = await sender.add(2);
got.keyedSends = [await sender.add(3, sendOpts({ idempotencyKey: "send" })), await sender.add(3, sendOpts({ idempotencyKey: "send" }))];
got.attached = await restate.result(got.keyedSends[0]);
got.delayed = await sender.add(4, sendOpts({ delay: { milliseconds: 300 }, idempotencyKey: "later" }));
const began = Date.now();
got.afterDelay = await restate.result(got.delayed);
got.waited = Date.now() - began;

const workflow = restate.workflowClient({ name: "BlockAndWaitWorkflow" }, key);
got.submitted = await workflow.workflowSubmit("input");
got.again = await workflow.workflowSubmit("input");
got.notReady = (await workflow.workflowOutput()).ready;
await workflow.unblock("output");
got.workflow = await workflow.workflowAttach();
const output = await workflow.workflowOutput();
got.output = [output.ready, output.result];
got.submittedResult = await restate.result(got.submitted);

const waiter = (name) => restate.objectClient({ name: "AwakeableWaiter" }, name).waitForAnything();
const resolved = waiter(key + "-resolve");
await restate.resolveAwakeable(await held(key + "-resolve"), { hello: "world" });
got.resolved = await resolved;
const nothing = waiter(key + "-nothing");
await restate.resolveAwakeable(await held(key + "-nothing"));
got.resolvedWithNothing = await nothing;
const rejected = failure(waiter(key + "-reject"));
await restate.rejectAwakeable(await held(key + "-reject"), "Very bad error!");
got.rejected = await rejected;

got.failed = await failure(restate.objectClient({ name: "Failing" }, key).terminallyFailingCall({ errorMessage: "my-error" }));
got.special = [];
for (const special of ["a/b", "100%", "a%2Fb", "with spaces", "ключ-🔑", "?query#fragment"]) {
  await restate.objectClient(counter, special + key).add(1);
  got.special.push(special + key);
}
console.log(JSON.stringify(got));
