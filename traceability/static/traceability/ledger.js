// What works without scripts works better with them; nothing here is needed to read a page.
"use strict";

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy && navigator.clipboard) {
    await navigator.clipboard.writeText(copy.dataset.copy);
    const said = copy.querySelector("[data-said]") || copy;
    const before = said.textContent;
    said.textContent = copy.dataset.done;
    setTimeout(() => { said.textContent = before; }, 1500);
  }
  const opener = event.target.closest("[data-open-all]");
  if (opener) {
    const parts = document.querySelectorAll(`${opener.dataset.openAll} details`);
    const open = opener.getAttribute("aria-pressed") !== "true";
    parts.forEach((part) => { part.open = open; });
    opener.setAttribute("aria-pressed", String(open));
  }
});

// A browser that cannot copy is not offered to.
if (!navigator.clipboard) {
  document.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = true; });
}

// Choosing sends, where a form says so; without scripts its button does.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-sends]")) { event.target.form.requestSubmit(); }
});
