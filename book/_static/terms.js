// Escape takes a definition away without moving the pointer or the focus.
addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.documentElement.classList.add("no-tips");
});
for (const moved of ["mouseover", "focusin"]) {
  addEventListener(moved, (event) => {
    if (event.target.matches(".term")) document.documentElement.classList.remove("no-tips");
  });
}
