// All that needs a script is a comfort: each page works without it.
"use strict";

// Copy what stands in the element that data-copy names.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(from.textContent);
    button.textContent = button.dataset.copied;
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
