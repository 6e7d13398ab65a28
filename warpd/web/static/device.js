// A phone or laptop whose keys are made here. The private one is in the memory of this page, from the
// review until its owner has it; only the public one is sent.
import { qr } from "./qr.js";

const byId = (id) => document.getElementById(id);
const form = byId("device");
let device = null; // { own, shared, place, change }

const standard = (text) => `${text.replaceAll("-", "+").replaceAll("_", "/")}=`;
const makePair = async () => {
  const pair = await crypto.subtle.generateKey({ name: "X25519" }, true, ["deriveBits"]);
  const { d, x } = await crypto.subtle.exportKey("jwk", pair.privateKey);
  return { own: standard(d), shared: standard(x) };
};
const show = (step) => {
  for (const part of document.querySelectorAll("[data-step]")) part.hidden = part.dataset.step !== step;
};
const fail = (text) => {
  byId("device-failure").hidden = !text;
  byId("device-failure").lastChild.textContent = text;
};
const send = (path, fields) => fetch(path, {
  method: "POST", redirect: "manual", headers: { accept: "application/json" },
  body: new URLSearchParams({ ...fields, form_token: form.elements.form_token.value }),
});
const jsonOrError = (answer) => answer.json().catch(() => ({ error: byId("device-failure").dataset.unread }));
const stay = (event) => event.preventDefault();

const take = async (proof) => {
  const answer = await send(`${device.place}/config`, proof);
  const found = await jsonOrError(answer);
  if (found.code === "step-up" || found.code === "sign-in") show("proof");
  if (!answer.ok || found.error) return fail(found.code === "step-up" ? "" : found.error);
  if (found.public_key !== device.shared) return fail(document.querySelector("[data-other]").dataset.other);
  const text = found.config.replace(/^PrivateKey = .*$/m, `PrivateKey = ${device.own}`);
  const rows = qr(text), dark = rows.flatMap((row, y) => row.map((own, x) => (own ? `M${x} ${y}h1v1h-1z` : "")));
  byId("device-qr").setAttribute("viewBox", `-4 -4 ${rows.length + 8} ${rows.length + 8}`);
  byId("device-qr").firstChild.setAttribute("d", dark.join(""));
  byId("device-file").href = URL.createObjectURL(new Blob([text]));
  byId("device-file").download = found.file;
  byId("waiting").dataset.session = `${device.place}/session`;
  byId("waiting").hidden = false;
  fail("");
  show("config");
};
form.addEventListener("submit", async (event) => {
  const fields = Object.fromEntries(new FormData(form));
  if (fields.key !== "browser") return;
  event.preventDefault();
  const pair = await makePair();
  const answer = await send(form.action, { ...fields, key: "own", public_key: pair.shared });
  const change = await jsonOrError(answer);
  if (!answer.ok || change.error) return fail(change.error);
  device = { ...pair, change, place: `/endpoints/${fields.network}/${fields.endpoint.trim()}` };
  addEventListener("beforeunload", stay);
  byId("device-diff").textContent = change.diff;
  fail("");
  show("review");
});
byId("device-apply").addEventListener("click", async ({ target }) => {
  const fields = { digest: device.change.digest, confirm_within_s: target.dataset.within };
  const answer = byId("device-applied").hidden && (await send(`/changes/${device.change.id}/apply`, fields));
  if (answer && answer.type !== "opaqueredirect") return fail(target.dataset.failed);
  byId("device-applied").hidden = false;
  await take({});
});
byId("device-proof").addEventListener("submit", (event) => {
  event.preventDefault();
  take(Object.fromEntries(new FormData(event.target)));
});
byId("device-keep").addEventListener("click", async ({ target }) => {
  const answer = await send("/confirm", {});
  byId("device-keep-hint").textContent = target.dataset[answer.type === "opaqueredirect" ? "done" : "failed"];
  target.hidden = true;
});
byId("device-forget").addEventListener("click", () => {
  removeEventListener("beforeunload", stay);
  URL.revokeObjectURL(byId("device-file").href);
  byId("device-qr").firstChild.removeAttribute("d");
  device = null;
  show("");
});

// Where no pair can be made, the page stays as it came: with the other ways, which need none of this.
makePair().then(() => {
  const choice = form.querySelector("[value=browser]");
  byId("device-browser").hidden = choice.disabled = false;
  choice.checked = byId("device-none").hidden = true;
}, () => {});
