// All that needs a script is a comfort: each page works without it.
"use strict";

// What has happened, for who does not see it. It has no role, so that a screen reader that reads the page to its end does
// not find a status without words there. What is told twice is another text the second time, or it is not heard; nor is
// it, by Orca, where the words before it were taken away.
const said = document.createElement("p");
said.className = "visually-hidden";
said.setAttribute("aria-live", "polite");
document.body.append(said);
const tell = (text) => (said.textContent = said.textContent === text ? text + "\u00a0" : text);

// Copy what stands in the element that data-copy names.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(from.textContent);
    button.firstChild.data = button.dataset.copied + " ";
    tell(button.dataset.copied);
  } catch {
    const range = document.createRange();
    range.selectNodeContents(from);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }
});

// What the browser finds wrong in a field stands in a bubble that is not read by every screen reader, and so nothing
// would be heard of a form that is not sent. A field's description says what it takes.
document.addEventListener("invalid", ({ target }) => {
  if (target !== target.form.querySelector("input:invalid, select:invalid, textarea:invalid")) return;
  const described = (target.getAttribute("aria-describedby") ?? "").split(" ");
  tell([target.validationMessage, ...described.map((id) => document.getElementById(id)?.textContent)].join(" "));
}, true);

// What is shown once does not stay in a page that the browser keeps for the way back.
addEventListener("pagehide", () => {
  for (const shown of document.querySelectorAll("[data-once]")) {
    shown.remove();
    for (const note of document.querySelectorAll("[data-gone]")) note.hidden = false;
  }
});

// Change of what is shown what has changed, and nothing else: what has the focus keeps it.
const change = (shown, next) => {
  if (shown.isEqualNode(next)) return;
  const [before, after] = [[...shown.childNodes], [...next.childNodes]];
  if (shown.nodeType !== Node.ELEMENT_NODE || before.length !== after.length || !shown.cloneNode().isEqualNode(next.cloneNode())) {
    return shown.replaceWith(next);
  }
  before.forEach((child, i) => change(child, after[i]));
};

// What is told of what changes by itself: sentences that were not there before, and not each piece of them.
const tidings = (live) => [...live.querySelectorAll("[data-tell]")].map((e) => e.textContent);

// Where this page asks for itself. That is no use of the session, which ends when nobody is there (again.go). Whoever
// loads the page by hand is there, so the address that they see does not have it.
const itself = new URL(location.href);
if (itself.searchParams.has("again")) {
  itself.searchParams.delete("again");
  history.replaceState(null, "", itself);
}
itself.searchParams.set("again", "1");

// Load again what changes by itself, for as long as it says so; without this, the whole page is. What is another page
// by now, such as that for signing in, is shown as one.
const refresh = async (live) => {
  try {
    const answer = await fetch(itself);
    if (!answer.ok || answer.redirected) return location.replace(itself);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (!next) return location.replace(itself);
    const again = next.dataset.refresh;
    live.toggleAttribute("data-refresh", false);
    next.toggleAttribute("data-refresh", false);
    const [before, after] = [tidings(live), tidings(next)];
    change(live, next);
    const news = after.filter((text) => !before.includes(text));
    if (news.length) tell(news.join(" "));
    if (again) setTimeout(refresh, again, document.getElementById("live"));
  } catch {
    setTimeout(refresh, 5000, live); // the server is away for a moment
  }
};
const live = document.querySelector("#live[data-refresh]");
if (live) setTimeout(refresh, live.dataset.refresh, live);
