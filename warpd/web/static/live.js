// Ages that grow, the time that is left to confirm, and a page that is made again when something has
// happened. Without any of it the page says the same, as of when it was made.
const started = performance.now();
const passed = () => (performance.now() - started) / 1000;
const byId = (id) => document.getElementById(id);

const duration = (seconds) => {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= length) return `${Math.round(seconds / length)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
};

const clock = (seconds) => {
  const left = Math.max(0, Math.round(seconds));
  const two = (number) => String(number).padStart(2, "0");
  return `${two(Math.floor(left / 60))}:${two(left % 60)}`;
};

const looked = byId("looked");
const left = byId("clock");
const tick = () => {
  if (looked) looked.textContent = duration(Number(looked.dataset.age) + passed());
  if (left) {
    const seconds = Number(left.dataset.left) - passed();
    left.textContent = clock(seconds);
    if (seconds < -2) again();
  }
};
setInterval(tick, 1000);

// -- what happens

const QUIET_MS = 4000;
let due = 0;
let leaving = false; // a form was sent or a link followed: making the page again would undo that
for (const kind of ["submit", "beforeunload"]) addEventListener(kind, () => { leaving = true; });
addEventListener("pageshow", () => { leaving = false; });
const busy = () => {
  const at = document.activeElement;
  const writing = at && at.matches("input:not([type=search]), select, textarea") && at.closest("main");
  return writing || document.querySelector("details[open]:not([data-quiet]) summary:focus") || document.hidden;
};
const again = () => {
  if (due) return;
  due = setTimeout(() => {
    due = 0;
    if (document.body.dataset.still === undefined && !leaving && !busy()) location.reload();
  }, Math.max(0, QUIET_MS - passed() * 1000));
};
document.addEventListener("visibilitychange", () => { if (!document.hidden && passed() > 30) again(); });

const contact = byId("contact");
let lost = 0;
const say = (text) => { if (contact) contact.textContent = text; };
const stream = new EventSource(`/stream?after=${document.body.dataset.event}`);
stream.addEventListener("hello", () => { lost = 0; say(contact.dataset.live); });
stream.addEventListener("changed", again);
stream.addEventListener("error", () => { lost ||= performance.now(); });
setInterval(() => {
  if (!lost) return;
  const seconds = Math.round((performance.now() - lost) / 1000);
  say(`${contact.dataset.lost} ${seconds} s. ${left ? contact.dataset.back : ""}`);
}, 1000);
addEventListener("pagehide", () => stream.close());

// -- a config was handed out: wait for the first handshake

const waiting = byId("waiting");
if (waiting) {
  const poll = setInterval(async () => {
    if (!waiting.dataset.session) return; // nothing was handed out yet
    const answer = await fetch(waiting.dataset.session);
    if (!answer.ok) return;
    const { state, age_s: age, from } = await answer.json();
    if (state !== "connected" || age > passed() + 5) return;
    byId("waiting-state").textContent = `${waiting.dataset.connected} ${from}, ${duration(age)}`;
    clearInterval(poll);
  }, 3000);
}

// -- keys

addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.target.matches("input, select, textarea")) {
    event.preventDefault();
    byId("q")?.focus();
  }
});
