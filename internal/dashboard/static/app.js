// All that needs a script is a comfort: each page works without it.
"use strict";

// What has happened, for who does not see it.
const said = document.createElement("p");
said.className = "visually-hidden";
said.setAttribute("role", "status");
document.body.append(said);

// Copy what stands in the element that data-copy names.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(from.textContent);
    button.textContent = said.textContent = button.dataset.copied;
  } catch {
    const range = document.createRange();
    range.selectNodeContents(from);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }
});

// What is shown once does not stay in a page that the browser keeps for the way back.
addEventListener("pagehide", () => {
  for (const shown of document.querySelectorAll("[data-once]")) {
    shown.remove();
    for (const note of document.querySelectorAll("[data-gone]")) note.hidden = false;
  }
});

// Change of what is shown what has changed, and nothing else: what has the focus keeps it, and only what is new is read out.
const change = (shown, next) => {
  if (shown.isEqualNode(next)) return;
  const [before, after] = [[...shown.childNodes], [...next.childNodes]];
  if (shown.nodeType !== Node.ELEMENT_NODE || before.length !== after.length || !shown.cloneNode().isEqualNode(next.cloneNode())) {
    return shown.replaceWith(next);
  }
  before.forEach((child, i) => change(child, after[i]));
};

// Load again what changes by itself, for as long as it says so; without this, the whole page is.
const refresh = async (live) => {
  try {
    const answer = await fetch(location.href);
    if (!answer.ok || answer.redirected) return location.reload();
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (!next) return location.reload();
    const again = next.dataset.refresh;
    live.toggleAttribute("data-refresh", false);
    next.toggleAttribute("data-refresh", false);
    change(live, next);
    if (again) setTimeout(refresh, again, document.getElementById("live"));
  } catch {
    setTimeout(refresh, 5000, live); // the server is away for a moment
  }
};
const live = document.querySelector("#live[data-refresh]");
if (live) setTimeout(refresh, live.dataset.refresh, live);
