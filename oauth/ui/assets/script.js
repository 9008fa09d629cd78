// Improvements that no page depends on: focus on the summary of problems, local
// times, showing and rating passwords, handle checks, copying, one submission at
// a time, and the form that goes on by itself.
"use strict";

const all = (selector) => document.querySelectorAll(selector);
const byId = (id) => document.getElementById(id);

// For browsers that do not obey autofocus here.
setTimeout(() => {
  if (document.activeElement === document.body) byId("problems")?.focus();
}, 200);

const language = document.documentElement.lang;
for (const time of all("time[datetime]")) {
  const date = new Date(time.dateTime);
  if (!isNaN(date)) {
    time.title = time.textContent;
    time.textContent = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(date);
  }
}

for (const button of all("[data-reveal]")) {
  const input = byId(button.dataset.reveal);
  const show = button.textContent;
  button.hidden = false;
  button.addEventListener("click", () => {
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
    button.textContent = shown ? button.dataset.hide : show;
    input.focus();
  });
  // A password manager should meet a password field.
  input.form?.addEventListener("submit", () => { input.type = "password"; });
}

// strength rates a password from 1 to 4 by its length and variety. It is a hint;
// the server decides.
function strength(password) {
  const length = [...password].length;
  const variety = new Set(password).size;
  if (length < 8 || variety < 5) return 1;
  if (length < 11 || variety < 7) return 2;
  return length < 16 || variety < 9 ? 3 : 4;
}

for (const meter of all("[data-meter]")) {
  const words = meter.dataset.words.split("|");
  const status = meter.querySelector("[aria-live]");
  byId(meter.dataset.meter).addEventListener("input", (event) => {
    const level = event.target.value ? strength(event.target.value) : 0;
    meter.hidden = level === 0;
    meter.dataset.level = String(level);
    const word = words[level - 1] ?? "";
    if (status.textContent !== word) status.textContent = word;
  });
}

for (const status of all("[data-check]")) {
  if (!status.dataset.check) continue;
  const input = byId(status.dataset.for);
  const domain = byId("domain");
  let timer, latest = 0;
  const say = (text, mark) => {
    status.textContent = text;
    status.className = `status ${mark}`;
  };
  const check = async () => {
    const name = input.value.trim().replace(/^@/, "").toLowerCase();
    const number = ++latest;
    if (!name) return say("", "");
    const url = new URL(status.dataset.check, location.href);
    url.searchParams.set("handle", name + (domain?.value ?? status.dataset.domain));
    try {
      const answer = await fetch(url, { headers: { Accept: "application/json" } });
      const result = answer.ok ? await answer.json() : {};
      if (number !== latest) return;
      if (result.available === true) say(status.dataset.free, "good");
      else if (result.problem === "handle_invalid") say(status.dataset.invalid, "bad");
      else if (result.available === false || result.problem) say(result.text || status.dataset.taken, "bad");
      else say("", "");
    } catch {
      if (number === latest) say("", "");
    }
  };
  const later = () => {
    clearTimeout(timer);
    latest++;
    say("", "");
    // What was wrong with the former name says nothing about this one.
    byId(`${input.id}-problem`)?.remove();
    input.removeAttribute("aria-invalid");
    input.closest(".field").classList.remove("wrong");
    timer = setTimeout(check, 500);
  };
  input.addEventListener("input", later);
  domain?.addEventListener("change", later);
}

for (const button of all("[data-copy]")) {
  if (!navigator.clipboard) break;
  const label = button.querySelector("span");
  const text = label.textContent;
  label.setAttribute("aria-live", "polite");
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    label.textContent = button.dataset.done;
    setTimeout(() => { label.textContent = text; }, 2000);
  });
}

// A second click while the first is on its way sends nothing. After a while it
// does again: the answer may have opened another program.
for (const form of all("form")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
    event.submitter?.setAttribute("aria-disabled", "true");
    const again = () => {
      delete form.dataset.sent;
      event.submitter?.removeAttribute("aria-disabled");
    };
    setTimeout(again, 8000);
    addEventListener("pageshow", again, { once: true });
  });
}

document.querySelector("form[data-submit]")?.submit();
